"""What a job says: the run's settings, its sites and their links. No code, and no paths.

The links stand in the job because a topology may come from a file that only its author has.
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from fedefm import __version__
from fedefm.config import RunConfig, Section, parse
from fedefm.errors import ConfigError
from fedefm.train.header import SERVER
from fedefm.versions import release, work_together

if TYPE_CHECKING:
    from fedefm.train.assemble import Plan

SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Terms(Section):
    """Everything that the coordinator and every site of a job must agree on."""

    toolkit: str  # the version that made the job; for others its settings may mean other things
    run: RunConfig
    sites: tuple[str, ...] = Field(min_length=1)
    links: tuple[tuple[str, str], ...]
    resume: bool = False  # go on with what the sites have saved of this run
    recorded: int | None = Field(None, ge=0)  # and after no more rounds than were written down

    @property
    def needed(self) -> int:
        """How many sites make the quorum."""
        return math.ceil(self.run.federation.quorum * len(self.sites))

    def plan(self) -> "Plan":
        """Who exchanges with whom in which round; the same at all sites."""
        import networkx as nx

        from fedefm.train.assemble import plan_exchanges  # torch loads slowly

        graph = nx.Graph()
        graph.add_nodes_from(self.sites)
        graph.add_edges_from(self.links)
        strangers = sorted(set(graph) - set(self.sites))
        if strangers:
            raise ConfigError(f"the job links {', '.join(strangers)}, which are not its sites")
        return plan_exchanges(self.run, self.sites, graph)


def terms_for(
    run: RunConfig, sites: Sequence[str], resume: bool = False, recorded: int | None = None
) -> Terms:
    """The terms of a job for ``run``.

    Raises ConfigError where it cannot be a job, and PolicyRefused where its secure sums would not
    hide its sites.
    """
    if run.federation.scenario == "centralized":
        raise ConfigError(
            "federation.scenario 'centralized' puts all images in one place, which no federation "
            "does; run it with --where process"
        )
    if run.model.start is not None and run.stagewise is None:  # else it is the server's alone
        raise ConfigError(
            f"model.start {run.model.start!r} is not possible in a job yet, since the server would "
            "need the file, too; run it with --where process"
        )
    if not run.labels:
        raise ConfigError(
            "model.classes is empty; a job must name the labels of all its sites, since no site "
            "knows those of the others"
        )
    for site in sites:
        if site == SERVER or not SITE_NAME.fullmatch(site):
            raise ConfigError(
                f"site name {site!r} cannot be a FLARE client; use letters, digits, - _ . "
                f"and not {SERVER!r}"
            )
    from fedefm.topology.graphs import build_graph

    graph = build_graph(run.federation.topology, sites)
    run = _without_path(run)
    terms = Terms(
        toolkit=__version__,
        run=run,
        sites=tuple(sites),
        links=tuple(graph.edges),
        resume=resume,
        recorded=recorded,
    )
    plan = terms.plan()  # what does not fit is found here, not at the sites
    if run.privacy.secagg is not None:
        from nvflare_jobs.secure import refuse_unhidden  # the privacy packages load slowly

        refuse_unhidden({}, run, plan)
    return terms


def read_terms(text: str) -> Terms:
    """The terms in a job. Raises ConfigError with every mistake.

    One of another release is refused before its settings are looked at.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the job's terms are not JSON: {error}") from None
    _require_this_release(data.get("toolkit") if isinstance(data, dict) else None)
    return parse(data, Terms, "job")


def _require_this_release(made_with: Any) -> None:
    told = made_with if isinstance(made_with, str) else ""
    if not work_together(told, __version__):
        maker = f"fedefm {told[:40]!r}" if told else "a version of fedefm that it does not tell"
        raise ConfigError(
            f"the job was made with {maker}, and {__version__} is installed here, which runs jobs "
            f"of {release(__version__)} only; export it again with fedefm {release(__version__)}, "
            "or bring all parties to one version"
        )


def _without_path(run: RunConfig) -> RunConfig:
    """The run with the bare name of a topology file: where it lies is nobody's business."""
    named = Path(run.federation.topology).name
    federation = run.federation.model_copy(update={"topology": named})
    return run.model_copy(update={"federation": federation})
