"""The mean of a cohort: a mean among enough sites to hide in, where that of a pair hides nobody.

One of the cohort, in turn, is its collector: it receives the sum of the others, adds its own part,
and hands the mean out. Weights travel scaled by their share, which all know from the grid; the mean
is divided by the shares of those who are in it.

Who is not in the mean keeps its own weights, also when it could have the mean of the others: so the
sites' mean stays where it was (in a full grid the step stays doubly stochastic), and what the site
has learned is not lost. Who is in it and does not get it keeps its own weights, too; its part then
counts at the others and at itself. What entered no mean enters no average over rounds either
(``site.apart``): the others would all have the same average, and the published mean of the averages
would show what the one site did alone.

A collector that hands out different means could read more out of the next sums than a mean
(Pasquini et al., CCS 2022), so the members tell each other the digest of what they got. In a secure
sum they know who must have got it, as all have signed it, and take no mean without the word of all.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from fedefm.errors import ProtocolError
from fedefm.model.weights import Weights, flatten, unflatten
from fedefm.topology.grid import Grid
from fedefm.train.exchange import Cohort, Exchange, Occasion, Steps
from fedefm.train.message import Tensors, digest, shapes_of
from fedefm.train.site import Site

PRESENT = "cohort"  # beside the weights: 1 for each of the cohort, sorted, who is in the mean


def average_with_cohort(grid: Grid, site: Site, round_index: int) -> Steps[None]:
    """Replace the weights by the mean of the site's cohort in this round, or keep them.

    Raises ProtocolError where another member was handed another mean, or is said not to be in it.
    """
    collector = grid.collector(site.name, round_index)
    members = grid.cohort(site.name, round_index)
    cohort = Cohort(collector, frozenset(members) - {collector}, joins=True)
    shares = {member: grid.weight(member, round_index) for member in members}
    own = site.weights()
    part = flatten(own) * shares[site.name]
    if collector == site.name:
        mean = yield from _collect(cohort, part, shares, round_index, site)
    else:
        mean = yield from _contribute(cohort, part, round_index, site)
    site.apart = mean is None
    site.load(own if mean is None else mean)


def _collect(
    cohort: Cohort, part: Tensor, shares: Mapping[str, float], round_index: int, site: Site
) -> Steps[Weights | None]:
    """The mean of our part and those that came, handed out to who gave one; None if none came."""
    total = yield from site.sum(Occasion(round_index, "sum", part.numel()), {}, cohort)
    if not total.members:
        return None
    present = {site.name, *total.members}
    share = sum(shares[name] for name in sorted(present))
    mean = unflatten((total.vector + part) / share, site.weights())
    marks = torch.tensor([name in present for name in _sorted(cohort)], dtype=torch.uint8)
    handed_out: Tensors = {**mean, PRESENT: marks}
    receivers = dict.fromkeys(total.members, handed_out)
    yield Exchange("mean", receivers, frozenset(), {}, total.next_step)
    return mean


def _contribute(
    cohort: Cohort, part: Tensor, round_index: int, site: Site
) -> Steps[Weights | None]:
    """The mean that we have a part in, as the collector hands it out; None if it did not."""
    given = yield from site.sum(Occasion(round_index, "sum", part.numel()), {cohort: part}, None)
    if cohort.receiver in given.lost:
        return None
    shapes = {**site.shapes, PRESENT: torch.Size([len(cohort.members) + 1])}
    collector = frozenset({cohort.receiver})
    inbox = yield Exchange("mean", {}, collector, shapes, given.next_step)
    handed = inbox.get(cohort.receiver)
    present = set() if handed is None else _present(cohort, handed[PRESENT])
    if handed is None or site.name not in present:
        return None
    signed = given.company.get(cohort.receiver)
    if signed is not None and present != signed | {cohort.receiver}:
        raise ProtocolError(
            f"site {cohort.receiver!r} says that {_listed(present)} are in its mean, and "
            f"{_listed(signed)} have signed the sum; it is not used"
        )
    others = frozenset(present) - {site.name, cohort.receiver}
    heard = yield from _compare(handed, cohort.receiver, others, given.next_step + 1)
    if signed is not None and heard != others:
        return None
    return {name: value for name, value in handed.items() if name != PRESENT}


def _compare(
    handed: Tensors, collector: str, others: frozenset[str], step: int
) -> Steps[frozenset[str]]:
    """Tell the others in the mean which one we got, and hear it from them; who was heard.

    Raises ProtocolError where somebody got another one.
    """
    got = torch.frombuffer(bytearray.fromhex(digest(handed)), dtype=torch.uint8)
    told: Tensors = {"digest": got}
    inbox = yield Exchange("echo", dict.fromkeys(others, told), others, shapes_of(told), step)
    differing = [name for name in sorted(inbox) if not torch.equal(inbox[name]["digest"], got)]
    if differing:
        raise ProtocolError(
            f"site {collector!r} handed out different means: {', '.join(differing)} got another "
            "one than this site, or says so; it is not used"
        )
    return frozenset(inbox)


def _present(cohort: Cohort, marks: Tensor) -> set[str]:
    return {name for name, mark in zip(_sorted(cohort), marks.tolist(), strict=True) if mark}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _sorted(cohort: Cohort) -> list[str]:
    return sorted({cohort.receiver, *cohort.members})
