"""The same run file in FLARE's simulator: one process a site, all on this machine.

The sites' folders are named in the environment of FLARE's processes, and the job is the one that
would go to real hospitals. Messages travel as there, but unencrypted: a simulation has no
certificates. What the coordinator tells is copied into the run folder while the run goes on.
"""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedefm.config import SERVER_FILE, RunConfig, read_site
from fedefm.data.dataset import FrameDataset
from fedefm.data.loading import Splits
from fedefm.errors import FedEFMError, ProtocolError, QuorumLost
from fedefm.events import Event, EventLog, Listener, read_events
from fedefm.model.checkpoint import load_checkpoint
from fedefm.model.weights import load_weights, weights_of
from fedefm.train.assemble import (
    build_model,
    build_site_model,
    check_promises,
    check_share,
    find_manifest,
    load_data,
)
from fedefm.train.effort import efforts
from fedefm.train.foundation_card import save_foundation
from fedefm.train.measure import ACCURACY
from fedefm.train.pretext import Pretrained, Trained, pretext_of, product_of
from fedefm.train.run_files import EVENTS, MODEL, RESULT, STATE
from fedefm.train.run_folder import (
    is_finished,
    open_run_folder,
    run_log,
    write_result,
)
from fedefm.train.server_side import find_server_side
from fedefm.train.state import load_state
from fedefm.train.telling import check_quorum
from fedefm.train.verdict import measure_global, measure_tasks
from fedefm.train.workshop import find_sites, holdings, resolve
from nvflare_jobs.jobs.pretrain import export_job
from nvflare_jobs.parties.heads import HEADS_FILE
from nvflare_jobs.parties.places import STATUS_FILE
from nvflare_jobs.parties.reasons import ALL, tell_reason
from nvflare_jobs.parties.terms import Terms, terms_for
from nvflare_jobs.simulator_process import SimulatorProcess, server_folder

WORKSPACE = "flare"  # in the run folder, while FLARE runs and after a failure
POLL_S = 0.1
FRAME = ("time", "event")  # of every event, besides what it says
AT_MOST = {"at_most": True}

Privacy = Mapping[str, Mapping[str, Any] | None]
Metrics = Mapping[str, float | int | None]


@dataclass(frozen=True)
class Told:
    """The figures of the coordinator's ``result.json``."""

    metrics: Metrics
    privacy: Privacy


def run_in_simulator(
    run: RunConfig,
    sites_folder: Path,
    out: Path,
    resume: bool = False,
    listeners: tuple[Listener, ...] = (),
    keep_workspace: bool = False,
) -> Path:
    """Train, publish, measure; the run folder, as ``run_in_process`` makes it.

    Raises:
        ConfigError, DataError: before anything is written, for what a run file or a site lacks.
        QuorumLost: too few sites took part; before anything is written where too few sites can
            afford a private run.
        ProtocolError: FLARE ended without a result; its log stays in the run folder.
    """
    site_files = find_sites(sites_folder)
    manifests = {name: find_manifest(path, run.dataset) for name, path in site_files.items()}
    run = resolve(run, manifests, site_files)
    terms = terms_for(run, tuple(manifests))  # what does not fit is found before writing
    find_server_side(run, sites_folder / SERVER_FILE)
    if run.privacy.secagg is not None:
        _refuse_unhidden(terms, site_files)
        for name, manifest in manifests.items():
            check_share(run, name, manifest)
    if run.privacy.dp is not None and not resume:
        _refuse_hopeless(terms, site_files)
    open_run_folder(out, run, resume)
    if is_finished(out):
        return out
    with run_log(out, listeners) as log:
        if resume:
            _catch_up(out, log)
            terms = terms_for(run, tuple(manifests), resume, _recorded(out))
        told = _conduct(terms, sites_folder, out, log)
        data = {name: load_data(name, m, run) for name, m in manifests.items()}
        _measure(terms, out, log, data, told)
    if not keep_workspace:
        shutil.rmtree(out / WORKSPACE)
    return out


def _refuse_hopeless(terms: Terms, site_files: Mapping[str, Path]) -> None:
    """Raises QuorumLost where so many sites refuse the run that it need not be begun."""
    from nvflare_jobs.afford import refuse_unaffordable  # the privacy packages load slowly

    run, plan = terms.run, terms.plan()
    refused: dict[str, str] = {}
    for site, path in site_files.items():
        try:
            refuse_unaffordable(
                site, path, run, efforts(run, plan.schedule, site, asked=plan.asked)
            )
        except FedEFMError as error:
            refused[site] = tell_reason(error, ALL)
    check_quorum("start", terms.sites, refused, run.federation.quorum)


def _refuse_unhidden(terms: Terms, site_files: Mapping[str, Path]) -> None:
    """Raises PolicyRefused where secure sums would not hide each site as its own file demands."""
    from nvflare_jobs.secure import refuse_unhidden  # the privacy packages load slowly

    for site, path in site_files.items():
        check_promises(read_site(path), terms.run, site)
    refuse_unhidden(site_files, terms.run, terms.plan())


def _catch_up(out: Path, log: EventLog) -> None:
    """Tell what the coordinator still told after the last run was killed."""
    path = server_folder(out / WORKSPACE) / EVENTS
    if not path.exists():
        return
    started = next(read_events(path), {}).get("time")
    copied, found = 0, False
    for event in read_events(out / EVENTS):
        found = found or (event["event"] == "run_started" and event["time"] == started)
        copied += found and not _told_here(event)
    _copy_events(path, copied, log)


def _recorded(out: Path) -> int:
    """How many rounds the run folder knows to be complete."""
    told = read_events(out / EVENTS) if (out / EVENTS).exists() else iter(())
    return max((e["round"] + 1 for e in told if e["event"] == "checkpoint"), default=0)


def _conduct(terms: Terms, sites_folder: Path, out: Path, log: EventLog) -> Told:
    """Run the job in FLARE's processes, and tell what the coordinator tells, as it tells it.

    What the coordinator found, and what each site says of its privacy.
    """
    folder = out / WORKSPACE
    shutil.rmtree(folder, ignore_errors=True)  # of the run that was interrupted
    job = export_job(terms, folder / "job")
    states = out / STATE / WORKSPACE
    signed = terms.run.privacy.secagg is not None
    with SimulatorProcess(job, folder, terms.sites, sites_folder, states, signed) as process:
        copied = 0
        over = False
        while not over:  # FLARE needs seconds to close down; the job is over with its status
            over = (process.server_folder / STATUS_FILE).exists() or not process.running()
            copied = _copy_events(process.server_folder / EVENTS, copied, log)
            time.sleep(0.0 if over else POLL_S)
        _check_status(process)
        for name in (MODEL, HEADS_FILE):
            if (process.server_folder / name).exists():
                shutil.copyfile(process.server_folder / name, out / name)
        told = json.loads((process.server_folder / RESULT).read_text(encoding="utf-8"))
        spent = {site: each for site, each in told["privacy"].items() if each}
        return Told(told["metrics"], {**_planned_before(out), **spent})


def _planned_before(out: Path) -> Privacy:
    """What sites planned that took part before a kill, and may not have come back."""
    events = [e for e in read_events(out / EVENTS) if e["event"] == "privacy_planned"]
    named = {e.pop("site"): e for e in events}
    return {s: {k: v for k, v in e.items() if k not in FRAME} | AT_MOST for s, e in named.items()}


def _copy_events(path: Path, copied: int, log: EventLog) -> int:
    """Tell the events after the first ``copied``; how many are told now."""
    if not path.exists():
        return copied
    events = list(read_events(path))
    for event in events[copied:]:
        if not _told_here(event):
            log.emit(event.pop("event"), **event)
    return len(events)


def _told_here(event: Event) -> bool:
    """What this process knows better: it has the test images, and writes the result."""
    measured = event["event"] == "evaluated" and event["split"] == "test"
    return measured or event["event"] == "run_finished"


def _check_status(process: SimulatorProcess) -> None:
    """FLARE's own word says little about success; the coordinator's does."""
    path = process.server_folder / STATUS_FILE
    if not path.exists():
        raise ProtocolError(
            f"FLARE's simulator ended without a result; its log is {process.log}. "
            "Go on with --resume"
        )
    told = json.loads(path.read_text(encoding="utf-8"))
    if told["status"] == "finished":
        return
    kind = QuorumLost if told["error"] == QuorumLost.__name__ else ProtocolError
    raise kind(f"{told['sentence']} (log: {process.log})")


def _measure(
    terms: Terms, out: Path, log: EventLog, data: Mapping[str, Splits], told: Told
) -> None:
    """The figures of ``result.json``, which need images of several sites.

    Where sites tell sums alone, these are all that there is, here as at real sites.
    """
    run, last = terms.run, terms.run.federation.rounds - 1
    in_sums, privacy = run.privacy.secagg is not None, told.privacy
    tests = {name: splits.test for name, splits in data.items() if splits.test is not None}
    metrics: dict[str, float | int | None] = {**told.metrics} if in_sums else {}
    if tests and not in_sums and run.stagewise is None:  # else each has its own task
        metrics[f"mean_local_{product_of(run).scale.name}"] = _mean_of_local_models(
            terms, out, tests
        )
    if (out / MODEL).exists():
        model = build_model(run)
        load_checkpoint(out / MODEL, model, minimum=1.0)
        if not in_sums:
            metrics |= _measured(terms, out, model, tests, log, last)
        promised = {site: told for site, told in privacy.items() if told}  # those who took part
        held = {} if in_sums else holdings(data)
        save_foundation(out, run, model, held, metrics, promised)
        if not in_sums and run.privacy.dp is None:  # else no patient's picture is to be told
            product_of(run).draw(out, model, tests)
    write_result(out, run, terms.sites, metrics, False, True, privacy)


def _measured(
    terms: Terms,
    out: Path,
    model: Pretrained,
    tests: Mapping[str, FrameDataset],
    log: EventLog,
    last: int,
) -> Metrics:
    """What the global model is worth; where sites have tasks of their own, with each one's head."""
    yardsticks = {name: pretext_of(terms.run, name).yardstick for name in tests}
    if terms.run.stagewise is None:
        return measure_global(model, tests, log, last, next(iter(yardsticks.values()), ACCURACY))
    own = dict(_local_models(terms, out))
    for built in own.values():
        load_weights(built, weights_of(built) | weights_of(model))
    tests = {name: test for name, test in tests.items() if name in own}
    return measure_tasks(own, tests, yardsticks, log, last)


def _mean_of_local_models(terms: Terms, out: Path, tests: Mapping[str, FrameDataset]) -> float:
    """How each site's own model does on everybody's test images, on average."""
    found = [
        pretext_of(terms.run, site).yardstick.over(model, tests)
        for site, model in _local_models(terms, out)
    ]
    return sum(found) / len(found)


def _local_models(terms: Terms, out: Path) -> Iterator[tuple[str, Trained]]:
    """Each site's own model; none of a site that was killed before its first round."""
    for site in terms.sites:
        saved = load_state(out / STATE / WORKSPACE / site / terms.run.name)
        if saved is not None:
            model = build_site_model(terms.run, site)
            load_weights(model, saved[1][site]["weights"])
            yield site, model
