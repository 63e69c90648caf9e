"""A run file, a folder of sites, one process: from images to a run folder.

The sites stand in one folder, each with its ``fedefm_site.yaml`` as at a hospital. Nothing here is
a federation in the sense of privacy, since one process reads all images; it is where a run file is
tried out before it goes to real sites.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import networkx as nx

from fedefm.config import RunConfig, read_site
from fedefm.data.dataset import FrameDataset, Progress
from fedefm.data.loading import Splits
from fedefm.data.manifest import Manifest
from fedefm.data.site_folders import SITE_FILE
from fedefm.errors import ConfigError, DataError
from fedefm.events import EventLog, Listener, read_events
from fedefm.finetune.evaluate import evaluate_foundation
from fedefm.model.foundation import FoundationModel
from fedefm.model.weights import Weights, load_weights
from fedefm.train.assemble import (
    Plan,
    build_model,
    build_server,
    build_site,
    check_model,
    check_promises,
    find_manifest,
    load_data,
    merged,
    plan_exchanges,
    refuse_unprotected,
)
from fedefm.train.effort import efforts
from fedefm.train.exchange import SERVER
from fedefm.train.federation import Federation
from fedefm.train.foundation_card import save_foundation
from fedefm.train.measure import pooled_accuracy
from fedefm.train.protection import Protect, Protection
from fedefm.train.run_folder import (
    EVENTS,
    STATE,
    discard_run_folder,
    is_finished,
    open_run_folder,
    run_id_of,
    run_log,
    tell_start,
    write_result,
)
from fedefm.train.simulate import Faults
from fedefm.train.start import StartingPoint, find_start
from fedefm.train.state import PartyState, load_state

CENTRALIZED = "all-sites"
RESERVED = {SERVER, "global"}  # the server's part, and the global model in events


@dataclass(frozen=True)
class Workshop:
    """What a run in one process works with: the resolved run file and every site's images."""

    run: RunConfig
    data: Mapping[str, Splits]
    site_files: Mapping[str, Path]
    start: StartingPoint | None

    @property
    def tests(self) -> dict[str, FrameDataset]:
        """The test images of the sites that have some."""
        return {name: d.test for name, d in self.data.items() if d.test is not None}

    @property
    def validations(self) -> dict[str, FrameDataset]:
        """The validation images of the sites that have some."""
        return {name: d.validation for name, d in self.data.items() if d.validation is not None}


def find_sites(folder: Path) -> dict[str, Path]:
    """The site files below ``folder``, by site name.

    Raises ConfigError: there are none, or a site has a name that means something else in a run.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"sites folder {folder} does not exist; make one with `fedefm data split`"
        )
    found = {path.parent.name: path for path in sorted(folder.glob(f"*/{SITE_FILE}"))}
    if not found:
        raise ConfigError(f"no folder in {folder} holds a {SITE_FILE}; see `fedefm data split`")
    without = sorted({path.parent.name for path in folder.glob("*/manifest.csv")} - found.keys())
    if without:
        raise ConfigError(f"no {SITE_FILE} in {folder} beside the manifest of {', '.join(without)}")
    for name in RESERVED & found.keys():
        raise ConfigError(f"a site cannot be called {name!r}; rename the folder {folder / name}")
    return found


def resolve(
    run: RunConfig, manifests: Mapping[str, Manifest], site_files: Mapping[str, Path] | None = None
) -> RunConfig:
    """The run file with the union of the sites' labels, where it names none.

    For a private run these are the labels that the site files declare, since those that occur in
    the images would be told. Raises ConfigError where a site declares none, and ModelError where no
    such model can be built.
    """
    if not run.model.classes:
        if run.privacy.dp is None:
            found = {label for manifest in manifests.values() for label in manifest.targets}
        else:
            found = _declared(run, site_files or {})
        classes = sorted(found)
        model = run.model.model_copy(update={"classes": tuple(classes)})
        run = run.model_copy(update={"model": model})
    check_model(run)
    return run


def _declared(run: RunConfig, site_files: Mapping[str, Path]) -> set[str]:
    declared = {n: read_site(p).datasets[run.dataset].labels for n, p in site_files.items()}
    silent = sorted(name for name, labels in declared.items() if not labels)
    if silent or not declared:
        raise ConfigError(
            "model.classes is empty, and a private run does not look into images for labels; name "
            f"them there, or as `labels` in the site file of {', '.join(silent) or 'each site'}"
        )
    return {label for labels in declared.values() for label in labels or ()}


def prepare(
    run: RunConfig,
    sites_folder: Path,
    progress: Progress | None = None,
    protect: Protect | None = None,
) -> Workshop:
    """Read the sites' images. Raises its errors before anything is written."""
    manifests, site_files = {}, find_sites(sites_folder)
    _refuse_pooling(run)
    for name, path in site_files.items():
        check_promises(read_site(path), run, name)
        manifests[name] = find_manifest(path, run.dataset)
        refuse_unprotected(run, name, private=protect is not None)
        if run.privacy.dp is not None and protect is not None:
            protect.check(name, path, run, manifests[name])
    _refuse_shared_patients(manifests)
    run = resolve(run, manifests, site_files)
    _plan(run, tuple(manifests))  # a graph that does not fit is found before decoding
    start = find_start(run, site_files)
    build_model(run, start)  # and so is a start that does not fit
    data = {name: load_data(manifest, run, progress) for name, manifest in manifests.items()}
    return Workshop(run, data, site_files, start)


def _refuse_pooling(run: RunConfig) -> None:
    if run.federation.scenario == "centralized" and run.privacy.dp is not None:
        raise ConfigError(
            "federation.scenario 'centralized' puts all sites' images in one place, which no "
            "site's ledger can account for; leave out privacy.dp, or use scenario 'local' for a "
            "private reference"
        )


def _refuse_shared_patients(manifests: Mapping[str, Manifest]) -> None:
    """One patient at two sites could be trained on at one and tested on at the other."""
    seen: dict[str, str] = {}
    shared: dict[tuple[str, str], set[str]] = {}
    for site, manifest in manifests.items():
        for patient in {row.patient_id for row in manifest.rows}:
            if seen.setdefault(patient, site) != site:
                shared.setdefault((seen[patient], site), set()).add(patient)
    if shared:
        pairs = [f"{a!r} and {b!r} share {len(both)}" for (a, b), both in shared.items()]
        raise DataError(
            f"the same patients are at several sites: {', '.join(pairs)}; "
            "divide the images with `fedefm data split`"
        )


def run_in_process(
    run: RunConfig,
    sites_folder: Path,
    out: Path,
    resume: bool = False,
    listeners: tuple[Listener, ...] = (),
    faults: Faults | None = None,
    progress: Progress | None = None,
    protect: Protect | None = None,
) -> Path:
    """Train, publish, measure; the run folder.

    ``protect`` makes each site's protection, without which a private run is refused. Raises
    BudgetExhausted where a site has too little left for all rounds; nothing is left behind then.
    Raises QuorumLost where too few sites took part.
    """
    workshop = prepare(run, sites_folder, progress, protect)
    open_run_folder(out, workshop.run, resume)
    if is_finished(out):
        return out
    if resume:
        _refuse_other_start(out, workshop.start)
    saved = load_state(out / STATE) if resume else None
    before = 0 if saved is None else saved[0]
    with (
        _protections(workshop, protect, out, before, resume) as guards,
        run_log(out, listeners) as log,
    ):
        federation = _assemble(workshop, log, out / STATE, faults or Faults(), guards)
        if saved is not None:
            _resume(federation, out, *saved)
        digest = workshop.start.sha256 if workshop.start else None
        tell_start(log, workshop.run, federation.plan, "process", before, digest)
        if not guards:  # a private run tells no counts of training images
            log.emit("corpora", holdings=holdings(workshop.data))
        with _told_budget(federation, log):
            federation.train()
            weights = federation.publish()
        _finish(out, workshop, federation, weights, log)
    return out


def _refuse_other_start(out: Path, start: StartingPoint | None) -> None:
    """What is not trained is in no saved state, so it must come from the same file again."""
    events = read_events(out / EVENTS) if (out / EVENTS).exists() else iter(())
    told = [event for event in events if event["event"] == "run_started"]
    before = told[-1].get("start_sha256") if told else None
    if start is not None and before is not None and before != start.sha256:
        raise ConfigError(
            f"the start {start.name!r} is another file than when the run in {out} began (SHA-256 "
            f"{before[:12]}, now {start.sha256[:12]}); put the former one back, or start a new run"
        )


@contextmanager
def _protections(
    workshop: Workshop, protect: Protect | None, out: Path, begin: int, resume: bool
) -> Iterator[dict[str, Protection]]:
    """Each site's protection for the rounds from ``begin``; empty for a run that is not private."""
    guards: dict[str, Protection] = {}
    run = workshop.run
    try:
        if protect is not None and run.privacy.dp is not None:
            schedule = _plan(run, tuple(workshop.data)).schedule
            for name, images in workshop.data.items():
                ahead = efforts(run, schedule, name, begin)
                file = workshop.site_files[name]
                guards[name] = protect(name, file, run, ahead, run_id_of(out), images.train)
    except BaseException:
        if not resume:  # as if it had never been begun
            for guard in guards.values():
                guard.release.finish()
            discard_run_folder(out)
        _close(guards)
        raise
    try:
        yield guards
    finally:
        _close(guards)


def _close(guards: Mapping[str, Protection]) -> None:
    for guard in guards.values():
        guard.release.close()


@contextmanager
def _told_budget(federation: Federation, log: EventLog) -> Iterator[None]:
    """Tell what each site will spend at most, and however it ends, what it has spent."""
    for name, site in federation.sites.items():
        if planned := site.release.planned():
            log.emit("privacy_planned", site=name, **planned)
    try:
        yield
    finally:
        for name, site in federation.sites.items():
            if spent := site.release.result():
                log.emit("privacy_spent", site=name, **spent)


def holdings(data: Mapping[str, Splits]) -> dict[str, dict[str, dict[str, int]]]:
    """``site -> corpus -> split -> images``: who holds what."""
    return {name: _held(site) for name, site in data.items()}


def _held(site: Splits) -> dict[str, dict[str, int]]:
    splits = {"train": site.train, "validation": site.validation, "test": site.test}
    return {
        corpus: {
            split: int((dataset.labels == number).sum()) if dataset is not None else 0
            for split, dataset in splits.items()
        }
        for number, corpus in enumerate(site.train.classes)
    }


def _assemble(
    workshop: Workshop,
    log: EventLog,
    state: Path,
    faults: Faults,
    guards: Mapping[str, Protection],
) -> Federation:
    run, data = workshop.run, {name: site.train for name, site in workshop.data.items()}
    if run.federation.scenario == "centralized":
        size = run.training.batch_size * len(data)
        training = run.training.model_copy(update={"batch_size": size})
        run = run.model_copy(update={"training": training})
        data = {CENTRALIZED: merged(list(data.values()))}
    plan = _plan(run, tuple(data))
    sites = {
        name: build_site(name, images, run, plan, guards.get(name), workshop.start)
        for name, images in data.items()
    }
    validation = {n: d for n, d in workshop.validations.items() if n in sites}
    server = build_server(run, plan, workshop.start)
    return Federation(run, plan, sites, server, log, faults, state, validation)


def _plan(run: RunConfig, sites: tuple[str, ...]) -> Plan:
    together = run.federation.scenario == "centralized"  # one place, which no graph file names
    return plan_exchanges(run, sites, nx.empty_graph(sites) if together else None)


def _resume(
    federation: Federation, out: Path, finished: int, parties: Mapping[str, PartyState]
) -> None:
    different = sorted(parties.keys() ^ {*federation.sites, SERVER})
    if different:
        raise ConfigError(
            f"the run in {out} had other sites; not in both: {', '.join(different)}; "
            "resume it with the same sites, or start a new run"
        )
    federation.resume(finished, parties)


def _finish(
    out: Path,
    workshop: Workshop,
    federation: Federation,
    weights: Weights | None,
    log: EventLog,
) -> None:
    run, plan = workshop.run, federation.plan
    if run.federation.scenario == "centralized":
        weights = federation.sites[CENTRALIZED].average
    privacy = {name: site.release.result() for name, site in federation.sites.items()}
    metrics: dict[str, float | int | None] = {}
    if workshop.tests:
        metrics["mean_local_accuracy"] = _mean_of_local_models(federation, workshop.tests)
    if weights is not None:
        model = build_model(run, workshop.start)
        load_weights(model, weights)
        metrics |= measure_global(model, workshop.tests, log, federation.finished_rounds - 1)
        held = holdings(workshop.data)
        save_foundation(out, run, model, held, metrics, privacy, workshop.start)
    write_result(
        out,
        run,
        plan.sites,
        metrics,
        encrypted=False,
        simulated=True,
        privacy=privacy,
    )
    for site in federation.sites.values():  # last, so that a kill before it leaves an account
        site.release.finish()


def measure_global(
    model: FoundationModel, tests: Mapping[str, FrameDataset], log: EventLog, round_index: int
) -> dict[str, float | int | None]:
    """Accuracy of the global model on all test images, with an interval by patient, and by site."""
    if not tests:
        return {"global_accuracy": None, "mean_site_accuracy": None}
    by_site = {name: pooled_accuracy(model, {name: test}) for name, test in tests.items()}
    for name, accuracy in by_site.items():
        log.emit(
            "evaluated",
            round=round_index,
            site=name,
            model="global",
            split="test",
            accuracy=accuracy,
            images=len(tests[name]),
        )
    scores = evaluate_foundation(model, merged(list(tests.values())))
    log.emit(
        "evaluated",
        round=round_index,
        site="global",
        split="test",
        accuracy=scores.accuracy.value,
        images=scores.images,
    )
    return {
        "global_accuracy": scores.accuracy.value,
        "global_accuracy_low": _known(scores.accuracy.low),
        "global_accuracy_high": _known(scores.accuracy.high),
        "mean_site_accuracy": sum(by_site.values()) / len(by_site),
        "test_images": scores.images,
        "test_patients": scores.patients,
    }


def _known(value: float) -> float | None:
    """JSON has no NaN; a single patient gives no interval."""
    return None if math.isnan(value) else value


def _mean_of_local_models(federation: Federation, tests: Mapping[str, FrameDataset]) -> float:
    """How each site's own model does on everybody's test images, on average."""
    own = [pooled_accuracy(site.model, tests) for site in federation.sites.values()]
    return sum(own) / len(own)


def plan_of(run: RunConfig, sites_folder: Path) -> Plan:
    """Who would exchange with whom, without reading an image."""
    return plan_exchanges(run, tuple(find_sites(sites_folder)))
