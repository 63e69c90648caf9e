"""A run file, a folder of sites, one process: from images to a run folder.

The sites stand in one folder, each with its ``fedefm_site.yaml`` as at a hospital. Nothing here is
a federation in the sense of privacy, since one process reads all images; it is where a run file is
tried out before it goes to real sites.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fedefm.config import RunConfig
from fedefm.data.dataset import FrameDataset, Progress
from fedefm.errors import ConfigError
from fedefm.events import Event, EventLog, Listener, read_events
from fedefm.model.weights import Weights, load_weights
from fedefm.train.assemble import (
    build_model,
    build_server,
    build_site,
    merged,
)
from fedefm.train.effort import efforts
from fedefm.train.exchange import SERVER
from fedefm.train.federation import Federation, Hidden
from fedefm.train.foundation_card import save_foundation
from fedefm.train.measure import ACCURACY
from fedefm.train.pretext import pretext_of, product_of
from fedefm.train.protection import Protect, Protection
from fedefm.train.rounds import Algorithm
from fedefm.train.run_files import EVENTS, STATE
from fedefm.train.run_folder import (
    discard_run_folder,
    full_disk_told,
    is_finished,
    open_run_folder,
    run_id_of,
    run_log,
    tell_start,
    write_result,
)
from fedefm.train.secrecy import Hide, Secrecy
from fedefm.train.simulate import Faults
from fedefm.train.start import StartingPoint
from fedefm.train.state import PartyState, load_state
from fedefm.train.verdict import Metrics, measure_global, measure_tasks, pooled_metrics
from fedefm.train.workshop import Workshop, holdings, plan_for, prepare

CENTRALIZED = "all-sites"


def run_in_process(
    run: RunConfig,
    sites_folder: Path,
    out: Path,
    resume: bool = False,
    listeners: tuple[Listener, ...] = (),
    faults: Faults | None = None,
    progress: Progress | None = None,
    protect: Protect | None = None,
    hide: Hide | None = None,
    algorithm: Algorithm | None = None,
) -> Path:
    """Train, publish, measure; the run folder.

    ``protect`` makes each site's protection, without which a private run is refused, and ``hide``
    each party's secrecy, without which a run with secure sums is. An ``algorithm`` takes the place
    of the run file's, to whose plan it keeps (``Federation``). Raises BudgetExhausted where a
    site has too little left for all rounds; nothing is left behind then. Raises QuorumLost where
    too few sites took part, ConfigError where the disk is full.
    """
    workshop = prepare(run, sites_folder, progress, protect, hide)
    open_run_folder(out, workshop.run, resume)
    if is_finished(out):
        return out
    if resume:
        _refuse_other_start(out, workshop.start)
        _refuse_other_algorithm(out, workshop.run, algorithm)
    saved = load_state(out / STATE) if resume else None
    before = 0 if saved is None else saved[0]
    with (
        full_disk_told(out),
        _protections(workshop, protect, out, before, resume) as guards,
        run_log(out, listeners) as log,
    ):
        hidden = _secrecies(workshop, hide, out)
        faults = faults or Faults()
        federation = _assemble(workshop, log, out / STATE, faults, guards, hidden, algorithm)
        if saved is not None:
            _resume(federation, out, *saved)
        digest = workshop.start.sha256 if workshop.start else None
        own = algorithm.name if algorithm else None
        tell_start(log, workshop.run, federation.plan, "process", before, digest, own)
        if not guards and not hidden:  # a private run tells no counts of training images
            log.emit("corpora", holdings=holdings(workshop.data))
        with _told_budget(federation, log):
            federation.train()
            weights = federation.publish()
        _finish(out, workshop, federation, weights, log, own)
    return out


def _refuse_other_start(out: Path, start: StartingPoint | None) -> None:
    """What is not trained is in no saved state, so it must come from the same file again."""
    before = _begun(out).get("start_sha256")
    if start is not None and before is not None and before != start.sha256:
        raise ConfigError(
            f"the start {start.name!r} is another file than when the run in {out} began (SHA-256 "
            f"{before[:12]}, now {start.sha256[:12]}); put the former one back, or start a new run"
        )


def _refuse_other_algorithm(out: Path, run: RunConfig, own: Algorithm | None) -> None:
    """One that is handed in stands in no run file, so it must be handed in again."""
    before, now = _begun(out).get("algorithm"), own.name if own else run.federation.algorithm
    if before is not None and before != now:
        raise ConfigError(
            f"the run in {out} began with algorithm {before!r}, and would go on with {now!r}; hand "
            "in the same one, or start a new run"
        )


def _begun(out: Path) -> Event:
    """What the run in ``out`` told when it was last begun; nothing if it never was."""
    events = read_events(out / EVENTS) if (out / EVENTS).exists() else iter(())
    told = [event for event in events if event["event"] == "run_started"]
    return told[-1] if told else {}


@contextmanager
def _protections(
    workshop: Workshop, protect: Protect | None, out: Path, begin: int, resume: bool
) -> Iterator[dict[str, Protection]]:
    """Each site's protection for the rounds from ``begin``; empty for a run that is not private."""
    guards: dict[str, Protection] = {}
    run = workshop.run
    try:
        if protect is not None and run.privacy.dp is not None:
            plan = plan_for(run, tuple(workshop.data))
            for name, images in workshop.data.items():
                ahead = efforts(run, plan.schedule, name, begin, plan.asked)
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


def _secrecies(workshop: Workshop, hide: Hide | None, out: Path) -> dict[str, Hidden]:
    """Each party's secrecy; empty for a run whose sums are plain."""
    run, sites = workshop.run, tuple(workshop.data)
    if hide is None or run.privacy.secagg is None:
        return {}
    hidden = {}
    for party in (*sites, SERVER):
        told: list[str] = []
        file = workshop.site_files.get(party)
        hidden[party] = Hidden(hide(party, file, run, sites, run_id_of(out), told.append), told)
    return hidden


def _secrecy(hidden: Mapping[str, Hidden], party: str) -> Secrecy | None:
    return hidden[party].secrecy if party in hidden else None


def _assemble(
    workshop: Workshop,
    log: EventLog,
    state: Path,
    faults: Faults,
    guards: Mapping[str, Protection],
    hidden: Mapping[str, Hidden],
    algorithm: Algorithm | None,
) -> Federation:
    run, data = workshop.run, {name: site.train for name, site in workshop.data.items()}
    if run.federation.scenario == "centralized":
        size = run.training.batch_size * len(data)
        training = run.training.model_copy(update={"batch_size": size})
        run = run.model_copy(update={"training": training})
        data = {CENTRALIZED: merged(list(data.values()))}
    plan = plan_for(run, tuple(data))
    sites = {
        name: build_site(
            name,
            images,
            run,
            plan,
            guards.get(name),
            workshop.start,
            _secrecy(hidden, name),
            workshop.measure(name),
        )
        for name, images in data.items()
    }
    validation = {n: d for n, d in workshop.validations.items() if n in sites}
    secrecy, curator = _secrecy(hidden, SERVER), workshop.server.curator
    server = build_server(run, plan, workshop.start, secrecy, curator)
    return Federation(run, plan, sites, server, log, faults, state, validation, hidden, algorithm)


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
    own_algorithm: str | None,
) -> None:
    run, plan = workshop.run, federation.plan
    if run.federation.scenario == "centralized":
        weights = federation.sites[CENTRALIZED].average
    privacy = {name: site.release.result() for name, site in federation.sites.items()}
    metrics: dict[str, float | int | None] = {}
    in_sums = run.privacy.secagg is not None
    if workshop.tests and not in_sums and run.stagewise is None:  # else each has its own task
        name = f"mean_local_{product_of(run).scale.name}"
        metrics[name] = _mean_of_local_models(federation, workshop.tests)
    if weights is not None:
        model = build_model(run, workshop.start)
        load_weights(model, weights)
        if in_sums:
            metrics |= pooled_metrics(federation.server.verdict, product_of(run).scale)
        else:
            last = federation.finished_rounds - 1
            metrics |= _measured(workshop, federation, weights, log, last)
        held = {} if in_sums else holdings(workshop.data)
        start = workshop.start
        save_foundation(out, run, model, held, metrics, privacy, start, own_algorithm)
        if not in_sums and run.privacy.dp is None:  # else no patient's picture is to be told
            product_of(run).draw(out, model, workshop.tests)
    write_result(
        out,
        run,
        plan.sites,
        metrics,
        encrypted=False,
        simulated=True,
        privacy=privacy,
        own_algorithm=own_algorithm,
    )
    for site in federation.sites.values():  # last, so that a kill before it leaves an account
        site.release.finish()


def _measured(
    workshop: Workshop, federation: Federation, weights: Weights, log: EventLog, last: int
) -> Metrics:
    """What the global model is worth; where sites have tasks of their own, with each one's head."""
    run, tests = workshop.run, workshop.tests
    yardsticks = {name: pretext_of(run, name).yardstick for name in tests}
    if run.stagewise is not None:
        for site in federation.sites.values():
            site.load_shared(weights)
        models = {name: federation.sites[name].model for name in tests}
        return measure_tasks(models, tests, yardsticks, log, last)
    model = build_model(run, workshop.start)
    load_weights(model, weights)
    return measure_global(model, tests, log, last, next(iter(yardsticks.values()), ACCURACY))


def _mean_of_local_models(federation: Federation, tests: Mapping[str, FrameDataset]) -> float:
    """How each site's own model does on everybody's test images, on average."""
    own = [
        pretext_of(federation.run, name).yardstick.over(site.model, tests)
        for name, site in federation.sites.items()
    ]
    return sum(own) / len(own)
