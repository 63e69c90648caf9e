"""The secure form of ``fedefm.train.exchange.plain_sum``: same call, and no receiver sees a part.

Here packets become tensors and back. What happens between members and receiver is in ``member`` and
``receiver``; this file knows neither keys nor masks.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedefm.config import SecaggConfig
from fedefm.errors import PolicyRefused, ProtocolError
from fedefm.train.exchange import Cohort, Exchange, Occasion, Result, Steps, Total
from fedefm.train.message import ANY_LENGTH, Tensors
from privacy.identity import Identity
from privacy.project_root import ProjectRoot
from privacy.secagg.context import Context
from privacy.secagg.member import Contribution, member
from privacy.secagg.memory import Memory
from privacy.secagg.noise_shares import NoiseShares, least_others
from privacy.secagg.plan import PAYLOAD, PHASES, VECTOR
from privacy.secagg.receiver import Opened, receiver
from privacy.secagg.ring import Ring
from privacy.secagg.steps import Packet, Protocol, Step
from privacy.secagg.together import Ended, together

Session = Protocol[Contribution | Opened]


class SecureSum:
    """Adds up for one party of a run; a ``fedefm.train.exchange.Sum``.

    Args:
        party: who we are.
        identity: with which we sign.
        root: who issued everybody's certificate.
        memory: what we must not forget, of this party alone.
        job: the same at all parties, as ``run_id`` is.
        settings: of the run file.
        min_cohort: how many others must contribute where we do.
        tell: gets a sentence for each trouble, and for each sum of ours that did not come about.
        shares: by the length of a noisy sum, what each of its members adds; None: there are none.
        whole: help to open no sum of parts, counts aside, in which a planned member is missing.
    """

    def __init__(
        self,
        party: str,
        identity: Identity,
        root: ProjectRoot,
        memory: Memory,
        job: str,
        run_id: str,
        settings: SecaggConfig,
        min_cohort: int,
        tell: Callable[[str], None],
        shares: Callable[[int], NoiseShares] | None = None,
        whole: bool = False,
    ) -> None:
        self._party, self._identity, self._root, self._memory = party, identity, root, memory
        self._job, self._run_id = job, run_id
        self._settings, self._min_cohort, self._tell = settings, min_cohort, tell
        self._shares, self._whole = shares, whole

    def __call__(
        self, occasion: Occasion, parts: Mapping[Cohort, Tensor], own: Cohort | None
    ) -> Steps[Total]:
        """As ``plain_sum``, but a sum that cannot be opened is empty, and ``tell`` hears why.

        A cohort that is too small for us gets nothing of ours. Raises ProtocolError, before
        anything is sent, for a part with NaN, infinite values or values beyond the bound, and
        ConfigError for settings with which a sum of so many could overflow.
        """
        receivers = [cohort.receiver for cohort in parts]
        if len({self._party, *receivers}) != 1 + len(receivers):
            raise ProtocolError(
                f"{self._party} would give two parts to one receiver, or one to itself, in the sum "
                f"{occasion.what!r} of round {occasion.round}: {', '.join(sorted(receivers))}"
            )
        sessions = {
            cohort.receiver: self._give(occasion, cohort, part) for cohort, part in parts.items()
        }
        if own is not None and own.members:
            sessions[self._party] = self._receive(occasion, own)
        ended = yield from _carried(together(sessions), occasion.what)
        lost = frozenset(place for place, outcome in ended.items() if outcome.error is not None)
        for place in sorted(lost):
            self._tell(str(ended[place].error))
        return _total(occasion, self._party, ended, lost)

    def _give(self, occasion: Occasion, cohort: Cohort, part: Tensor) -> Session:
        ring = self._ring(occasion, cohort)
        x: NDArray[np.float32] = part.detach().cpu().contiguous().numpy()
        ring.check(x)
        return member(
            self._context(occasion, cohort, ring),
            ring,
            x,
            self._identity,
            self._root,
            self._memory,
            self._others(occasion, cohort),
            self._tell,
        )

    def _receive(self, occasion: Occasion, own: Cohort) -> Session:
        ring = self._ring(occasion, own)
        context = self._context(occasion, own, ring)
        return receiver(context, ring, occasion.length, self._root, self._tell)

    def _others(self, occasion: Occasion, cohort: Cohort) -> int:
        """How many others must contribute where we do."""
        if self._whole and not occasion.counts:
            return max(self._min_cohort, len(cohort.members) - 1 + cohort.joins)
        needed = least_others(self._settings) if occasion.noisy else 0
        return max(self._min_cohort, needed)

    def _agreed(self, occasion: Occasion, cohort: Cohort) -> str:
        """In noisy sums also what each member adds: who was told of less noise is no company."""
        if not occasion.noisy:
            return cohort.agreed
        return self._shares_of(occasion).agreed(cohort.agreed)

    def _ring(self, occasion: Occasion, cohort: Cohort) -> Ring:
        parties = len(cohort.members) + cohort.joins
        if occasion.noisy:
            return self._shares_of(occasion).ring(parties)
        return ring_for(self._settings, parties, occasion.counts)

    def _shares_of(self, occasion: Occasion) -> NoiseShares:
        if self._shares is None:
            raise PolicyRefused(
                f"the sum {occasion.what!r} is of shares of noise, and this run's sites add all of "
                "their noise themselves"
            )
        return self._shares(occasion.length)

    def _context(self, occasion: Occasion, cohort: Cohort, ring: Ring) -> Context:
        return Context(
            job=self._job,
            run_id=self._run_id,
            round=occasion.round,
            what=occasion.what,
            receiver=cohort.receiver,
            members=tuple(sorted(cohort.members)),
            joins=cohort.joins,
            ring=ring.describe(),
            agreed=self._agreed(occasion, cohort),
            colluders=self._settings.colluders,
        )


def ring_for(settings: SecaggConfig, parties: int, counts: bool = False) -> Ring:
    """In which a sum over so many is taken. Raises ConfigError where it could overflow.

    Counts are few and may be large: a loss stands among them in units of 1e-4. They are never
    compact, which among 33 parties would leave 17 bits for each.
    """
    if counts:
        return Ring.counts(parties)
    return Ring.default(parties, settings.bound, settings.compact, settings.value_bits)


def _total(
    occasion: Occasion,
    party: str,
    ended: Mapping[str, Ended[Contribution | Opened]],
    lost: frozenset[str],
) -> Total:
    """What follows goes on with the clock of the sum, in which receivers wait for the silent."""
    results = {place: one.result for place, one in ended.items()}
    company = {r: c.members for r, c in results.items() if isinstance(c, Contribution)}
    opened = results.get(party)
    if isinstance(opened, Opened):
        total, members = torch.from_numpy(opened.total), opened.members
    else:
        total, members = torch.zeros(occasion.length), ()
    return Total(total, members, len(PHASES), lost, company)


def _carried(sessions: Protocol[Result], what: str) -> Steps[Result]:
    """A protocol of packets as one of tensors; sessions check themselves what they are given."""
    try:
        step = next(sessions)
        while True:
            inbox = yield _exchange(step, what)
            step = sessions.send({sender: _packet(inbox[sender]) for sender in inbox})
    except StopIteration as finished:
        result: Result = finished.value
        return result
    finally:
        sessions.close()


def _exchange(step: Step, what: str) -> Exchange:
    shapes = {PAYLOAD: ANY_LENGTH}
    if step.vector_bytes:
        shapes[VECTOR] = torch.Size([step.vector_bytes])
    return Exchange(
        phase=f"{what}/{step.phase}",
        outgoing={receiver: _tensors(packet) for receiver, packet in step.outgoing.items()},
        expect=step.expect,
        shapes=shapes,
        step=step.step,
    )


def _tensors(packet: Packet) -> Tensors:
    """The vector is not copied: 86 million values are 344 MB."""
    payload = torch.from_numpy(np.frombuffer(packet.payload, np.uint8).copy())
    if packet.vector is None:
        return {PAYLOAD: payload}
    return {PAYLOAD: payload, VECTOR: torch.from_numpy(packet.vector)}


def _packet(tensors: Tensors) -> Packet:
    vector = tensors.get(VECTOR)
    return Packet(tensors[PAYLOAD].numpy().tobytes(), None if vector is None else vector.numpy())
