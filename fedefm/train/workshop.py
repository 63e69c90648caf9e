"""What a run in one process begins with: its sites found, held against the run file, and read.

All refusals come from here, before anything is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import networkx as nx

from fedefm.config import SERVER_FILE, RunConfig, read_site
from fedefm.config.names import UNLABELED
from fedefm.data.dataset import FrameDataset, Progress
from fedefm.data.kinds import kinds_of
from fedefm.data.loading import Splits
from fedefm.data.manifest import Manifest
from fedefm.data.site_folders import SITE_FILE
from fedefm.errors import ConfigError, DataError, PolicyRefused
from fedefm.train.assemble import (
    Plan,
    build_model,
    check_model,
    check_promises,
    check_share,
    find_manifest,
    load_data,
    plan_exchanges,
    refuse_unprotected,
    scan_mode_at,
)
from fedefm.train.exchange import SERVER
from fedefm.train.measure import Measure, measure_nothing, measure_on
from fedefm.train.pretext import pretext_of
from fedefm.train.protection import Protect
from fedefm.train.secrecy import Hide
from fedefm.train.server_side import ServerSide, find_server_side
from fedefm.train.start import StartingPoint, find_start

RESERVED = {SERVER, "global"}  # the server's part, and the global model in events


@dataclass(frozen=True)
class Workshop:
    """What a run in one process works with: the resolved run file and every site's images."""

    run: RunConfig
    data: Mapping[str, Splits]
    site_files: Mapping[str, Path]
    start: StartingPoint | None
    server: ServerSide

    @property
    def tests(self) -> dict[str, FrameDataset]:
        """The test images of the sites that have some."""
        return {name: d.test for name, d in self.data.items() if d.test is not None}

    @property
    def validations(self) -> dict[str, FrameDataset]:
        """The validation images of the sites that have some."""
        return {name: d.validation for name, d in self.data.items() if d.validation is not None}

    def measure(self, site: str) -> Measure:
        """How a model does on the images of ``site`` that are not trained on; on none if pooled."""
        held = self.data.get(site)
        if held is None:
            return measure_nothing
        return measure_on(pretext_of(self.run, site).yardstick, held.held_out)


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
    """The run file with the union of the sites' kinds of images, where it names none.

    For a private run these are the labels that the site files declare, since those that occur in
    the images would be told. Raises ConfigError where a site declares none, and ModelError where no
    such model can be built.
    """
    if not run.labels:
        if run.privacy.dp is None:
            found = {*kinds_of([row for manifest in manifests.values() for row in manifest.rows])}
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
    hide: Hide | None = None,
) -> Workshop:
    """Read the sites' images. Raises its errors before anything is written."""
    manifests, site_files = {}, find_sites(sites_folder)
    _refuse_pooling(run)
    _refuse_unhidden(run, site_files, hide)
    for name, path in site_files.items():
        check_promises(read_site(path), run, name)
        manifests[name] = find_manifest(path, run.dataset)
        check_share(run, name, manifests[name])
        refuse_unprotected(run, name, private=protect is not None)
        if run.privacy.dp is not None and protect is not None:
            protect.check(name, path, run, manifests[name])
    _refuse_shared_patients(manifests)
    run = resolve(run, manifests, site_files)
    plan_for(run, tuple(manifests))  # a graph that does not fit is found before decoding
    server = find_server_side(run, sites_folder / SERVER_FILE)
    start = find_start(run, site_files) if run.stagewise is None else server.start
    build_model(run, start)  # and so is a start that does not fit
    data = {
        name: load_data(name, m, run, progress, scan_mode_at(site_files[name], run.dataset))
        for name, m in manifests.items()
    }
    return Workshop(run, data, site_files, start, server)


def _refuse_pooling(run: RunConfig) -> None:
    if run.federation.scenario == "centralized" and run.privacy.dp is not None:
        raise ConfigError(
            "federation.scenario 'centralized' puts all sites' images in one place, which no "
            "site's ledger can account for; leave out privacy.dp, or use scenario 'local' for a "
            "private reference"
        )


def _refuse_unhidden(run: RunConfig, site_files: Mapping[str, Path], hide: Hide | None) -> None:
    """Raises PolicyRefused or ConfigError where sums are to be secure and would not hide."""
    if run.privacy.secagg is None:
        return
    if hide is None:
        raise PolicyRefused(
            "privacy.secagg is set in the run file, and nothing was handed in that could hide a "
            "site's part of a sum; start the run with `fedefm run`, or hand in a Hide"
        )
    hide.check(site_files, run, plan_for(run, tuple(site_files)))


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


def plan_for(run: RunConfig, sites: tuple[str, ...]) -> Plan:
    """Who exchanges with whom; nobody where all images are in one place."""
    together = run.federation.scenario == "centralized"  # one place, which no graph file names
    return plan_exchanges(run, sites, nx.empty_graph(sites) if together else None)


def plan_of(run: RunConfig, sites_folder: Path) -> Plan:
    """Who would exchange with whom, without reading an image."""
    return plan_exchanges(run, tuple(find_sites(sites_folder)))


def holdings(data: Mapping[str, Splits]) -> dict[str, dict[str, dict[str, int]]]:
    """``site -> corpus -> split -> images``: who holds what."""
    return {name: _held(site) for name, site in data.items()}


def _held(site: Splits) -> dict[str, dict[str, int]]:
    splits = {"train": site.train, "validation": site.validation, "test": site.test}
    counted = {split: _counted(data) for split, data in splits.items()}
    corpora = dict.fromkeys(name for counts in counted.values() for name in counts)
    return {
        corpus: {split: counts.get(corpus, 0) for split, counts in counted.items()}
        for corpus in corpora
    }


def _counted(data: FrameDataset | None) -> dict[str, int]:
    """Images of each kind or, where no kinds are told apart, of each corpus."""
    if data is None:
        return {}
    names, numbers = data.classes, data.labels
    told_apart = names != (UNLABELED,) and data.masks is None
    if not told_apart and data.origins is not None:
        names, numbers = data.origins.names, data.origins.corpora
    return {name: int((numbers == number).sum()) for number, name in enumerate(names)}
