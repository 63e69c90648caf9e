"""The folder that a run leaves, wherever it ran: settings, events, model and result.

``run.yaml`` holds the settings with everything resolved, ``events.jsonl`` what happened,
``model.safetensors`` the global model, ``result.json`` (schema 1) the figures.
"""

import errno
import json
import platform
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedefm import __version__
from fedefm.config import RunConfig, dump, read_run
from fedefm.errors import ConfigError, QuorumLost
from fedefm.events import EventLog, Listener, read_events
from fedefm.model.weights import weights_of
from fedefm.train.assemble import Plan, build_model
from fedefm.train.pretext import product_of
from fedefm.train.run_files import EVENTS, RESULT, RUN_FILE
from fedefm.train.single_releases import single_releases
from fedefm.train.totals import totals

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
RUN_ID = "run_id"  # what the sites' ledgers know the run by, over all its resumptions


def open_run_folder(folder: Path, run: RunConfig, resume: bool) -> None:
    """Make the folder of a new run, or check that ``run`` is what the interrupted one ran.

    Raises ConfigError: the folder is in use and the run is not resumed, there is nothing to resume,
    or the settings differ.
    """
    if not resume:
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(
                f"run folder {folder} holds a run already; "
                "choose another --out, or go on with --resume"
            )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RUN_ID).write_text(f"{secrets.token_hex(16)}\n", encoding="utf-8")
        (folder / RUN_FILE).write_text(dump(run), encoding="utf-8")
        return
    if not (folder / RUN_FILE).exists():
        raise ConfigError(f"there is no run to resume in {folder}; start one without --resume")
    different = _differences(read_run(folder / RUN_FILE).model_dump(), run.model_dump())
    if different:
        raise ConfigError(
            f"the run in {folder} had other settings: {'; '.join(different)}; "
            "resume it with its own run.yaml, or start a new run"
        )


def run_id_of(folder: Path) -> str:
    """The random name of the run in ``folder``. Raises ConfigError where it was lost."""
    try:
        return (folder / RUN_ID).read_text(encoding="utf-8").strip()
    except OSError:
        raise ConfigError(
            f"{folder / RUN_ID} cannot be read, and without it the sites' ledgers do not know "
            "which run this is; start a new run"
        ) from None


def discard_run_folder(folder: Path) -> None:
    """Undo ``open_run_folder`` of a new run that may not begin."""
    for name in (RUN_FILE, RUN_ID):
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()


def is_finished(folder: Path) -> bool:
    """Whether the run came to its end: the result is written last."""
    return (folder / RESULT).exists()


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Raises ConfigError where what a run in ``folder`` writes finds no room."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise ConfigError(
            f"run folder {folder} cannot be written: {error.strerror}; what was saved before stays "
            "there, so make room, and --resume goes on with it"
        ) from None


@contextmanager
def run_log(folder: Path, listeners: tuple[Listener, ...] = ()) -> Iterator[EventLog]:
    """The event stream of a run. Its last event says how the run ended, whatever happened."""
    log, started, status = EventLog(folder / EVENTS, listeners), time.perf_counter(), "interrupted"
    try:
        yield log
        status = "finished"
    except QuorumLost:
        status = "quorum lost"
        raise
    finally:
        log.emit("run_finished", status=status, seconds=time.perf_counter() - started)
        log.close()


def tell_start(
    log: EventLog,
    run: RunConfig,
    plan: Plan,
    where: str,
    resumed_from: int,
    start_sha256: str | None = None,
    own_algorithm: str | None = None,
) -> None:
    """The first event of a run, or of its continuation."""
    federation = run.federation
    weights = weights_of(build_model(run))
    numbers = sum(tensor.numel() for tensor in weights.values())
    linked = federation.scenario == "decentralized"
    log.emit(
        "run_started",
        name=run.name,
        seed=run.seed,
        scenario=federation.scenario,
        algorithm=own_algorithm or federation.algorithm,
        update=federation.update if federation.algorithm == "fedefm" else None,
        topology=federation.topology,
        schedule=federation.schedule,
        measure=product_of(run).scale.name,
        rounds=federation.rounds,
        sites=list(plan.sites),
        edges=[list(link) for link in plan.links(run)] if linked else [],
        single_releases=list(single_releases(run)),
        where=where,
        parameters=numbers,
        model_bytes=4 * numbers,
        device="cpu",
        resumed_from=resumed_from or None,
        start=run.model.start,
        start_sha256=start_sha256,
        train_last=run.model.train_last,
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    """Of what decides the numbers of a run, here; sites of one release may have other patches."""
    return {
        "fedefm": __version__,
        "Python": platform.python_version(),
        "PyTorch": str(torch.__version__),
        "NumPy": str(np.__version__),
    }


def write_result(
    folder: Path,
    run: RunConfig,
    sites: Sequence[str],
    metrics: Mapping[str, float | int | None],
    encrypted: bool,
    simulated: bool,
    privacy: Mapping[str, Mapping[str, Any] | None] | None = None,
    own_algorithm: str | None = None,
) -> None:
    """``result.json``. What was not protected stands in it as plainly as the accuracy.

    ``privacy`` holds what each site's release says; a run counts as differentially private only if
    every site that took part says something.
    """
    by_site = {site: (privacy or {}).get(site) for site in sites}
    federation, sums = run.federation, totals(read_events(folder / EVENTS), sites)
    update = f"-{federation.update}" if federation.algorithm == "fedefm" else ""
    result: dict[str, Any] = {
        "schema": 1,
        "scenario": federation.scenario,
        "algorithm": own_algorithm or federation.algorithm + update,
        "topology": federation.topology,
        "rounds": sums.rounds,
        "sites": list(sites),
        "participation": sums.participation,
        "metrics": dict(metrics),
        "privacy": by_site,
        "traffic_bytes": {
            "total": sums.sent_bytes,
            "per_round": sums.sent_bytes / max(sums.rounds, 1),
        },
        "seconds": {
            "total": sums.seconds,
            "train": sums.train_seconds,
            "exchange": sums.exchange_seconds,
        },
        "protection": {
            "differential_privacy": any(by_site.values())
            and all(by_site[site] for site, turns in sums.participation.items() if turns),
            "secure_sums": run.privacy.secagg is not None,
            "single_releases": list(single_releases(run)),
            "end_to_end_encryption": encrypted,
            "simulated": simulated,
        },
    }
    unfinished = folder / (RESULT + ".unfinished")
    unfinished.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(folder / RESULT)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    found = []
    for name in sorted(set(old) | set(new)):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append(f"{prefix}{name} was {before!r} and is now {after!r}")
    return found
