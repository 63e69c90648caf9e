"""All that ``fedefm privacy topology`` finds out of a run file: exposures, releases, traffic."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from fedefm.config import RunConfig, read_site
from fedefm.errors import PolicyRefused
from fedefm.train.assemble import Plan, build_model, check_promises
from nvflare_jobs.planned_sums import planned_sums
from nvflare_jobs.safe_topology import Proposal, nearest_safe
from nvflare_jobs.secure import refuse_impossible
from nvflare_jobs.site_demands import unmet_demands
from privacy.secagg.sum_plan import PlannedRound, Sent, SumPlan, mean_messages, sent
from privacy.secagg.topology_check import Exposure, exposure

_PLAIN_BYTES, _COMPACT_BYTES = 4, 3  # of a weight


@dataclass(frozen=True)
class KindOfRound:
    """Rounds that look alike: sums of the same sizes, by whomever, and as many messages."""

    rounds: tuple[int, ...]  # from 0; none for the sum at the end, for the global model
    example: PlannedRound
    sizes: tuple[int, ...]  # parts in each sum, the receiver's own among them
    sent: tuple[Sent, ...]  # by each site


@dataclass(frozen=True)
class Findings:
    """What a run file means for the sites. ``exposures`` are for 1, 2, ... colluders.

    ``asked`` is how many colluders were asked for, of which all sites but one are the most that
    there can be. ``refusals`` say why sites would not take part; None: nobody read their files.
    """

    run: RunConfig
    plan: Plan
    sums: SumPlan
    exposures: tuple[Exposure, ...]
    proposal: Proposal | None
    asked: int
    refusals: tuple[str, ...] | None = None

    @property
    def hidden(self) -> bool:
        """Whether secure sums would hide every site."""
        return not any(one.exposing for one in self.exposures)

    @property
    def reasons(self) -> list[str]:
        """Why the run is not safe; empty if it is."""
        privacy, found = self.run.privacy, []
        if self.sums.sums and privacy.secagg is None:
            found.append("privacy.secagg is not set, so every receiver sees each part as it is")
        if not self.hidden:
            found.append("sites that pool what they see could solve for another one's part")
        if self.sums.releases and privacy.dp is None:
            found.append(
                "whole models go to single partners, which no sum can hide, and privacy.dp is not "
                "set to bound what they say of a patient"
            )
        return [*found, *(self.refusals or ())]

    @property
    def safe(self) -> bool:
        """Whether every site stays hidden, or where no sum can hide it, is protected by DP."""
        return not self.reasons

    @cached_property
    def kinds(self) -> tuple[KindOfRound, ...]:
        """The rounds, those that look alike together, in the order of their first."""
        return _kinds(self.sums)

    @property
    def messages(self) -> float:
        """With a model or a masked part in them, per site and round, sent."""
        return mean_messages(self.sums)

    @cached_property
    def weights(self) -> int | None:
        """How many numbers travel as one model; None where only the sites' labels tell."""
        return _weights(self.run)

    def bytes_of(self, one: Sent) -> int | None:
        """What that many messages weigh."""
        if self.weights is None:
            return None
        secagg = self.run.privacy.secagg
        part = _COMPACT_BYTES if secagg is not None and secagg.compact else _PLAIN_BYTES
        return self.weights * (part * one.parts + _PLAIN_BYTES * one.models)


def findings(
    run: RunConfig, plan: Plan, colluders: int, site_files: Mapping[str, Path] | None = None
) -> Findings:
    """``site_files`` are held against the run where they are known, as before a run.

    Raises ConfigError where so many colluders are too many to go through, and for sums that cannot
    be taken.
    """
    sums = planned_sums(run, plan)
    if run.privacy.secagg is not None:
        refuse_impossible(run, sums)
    most = max(1, min(colluders, len(plan.sites) - 1))
    most_first = [exposure(sums, each) for each in range(most, 0, -1)]  # too many: refused
    exposures = tuple(reversed(most_first))
    exposed = any(one.exposing for one in exposures)
    proposal = nearest_safe(run, plan, colluders) if exposed else None
    refusals = None if site_files is None else tuple(_refusals(run, sums, site_files))
    return Findings(run, plan, sums, exposures, proposal, colluders, refusals)


def _refusals(run: RunConfig, sums: SumPlan, site_files: Mapping[str, Path]) -> Iterator[str]:
    """Why sites would not take part: what their files promise, and by how many they are hidden."""
    for site, file in site_files.items():
        try:
            check_promises(read_site(file), run, site)
        except PolicyRefused as refused:
            yield str(refused)
    if run.privacy.secagg is not None:
        yield from unmet_demands(site_files, run.privacy.secagg, sums)


def _kinds(sums: SumPlan) -> tuple[KindOfRound, ...]:
    alike: dict[object, list[int]] = {}
    for number, one in enumerate(sums.rounds):
        messages = Counter(sent(sums, one).values())
        alike.setdefault((_sizes(one), frozenset(messages.items())), []).append(number)
    kinds = [_kind(sums, sums.rounds[rounds[0]], rounds) for rounds in alike.values()]
    last = [] if sums.final is None else [_kind(sums, PlannedRound((sums.final,)), ())]
    return tuple(kinds + last)


def _kind(sums: SumPlan, example: PlannedRound, rounds: Sequence[int]) -> KindOfRound:
    each = tuple(sent(sums, example).values())
    return KindOfRound(tuple(rounds), example, _sizes(example), each)


def _sizes(one: PlannedRound) -> tuple[int, ...]:
    return tuple(sorted(len(total.weights) for total in one.sums))


def _weights(run: RunConfig) -> int | None:
    """A frozen head does not travel, so its labels need not be known."""
    model = run.model
    if run.masking is None and not model.classes and model.head != "frozen":
        return None
    if run.masking is None and not model.classes:
        model = model.model_copy(update={"classes": ("any",)})
    with torch.device("meta"):  # shapes without numbers
        built = build_model(run.model_copy(update={"model": model}))
    return sum(weight.numel() for weight in built.parameters() if weight.requires_grad)
