"""A receiver that holds all wires and may say anything, and what it can make of the answers."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedefm.errors import FedEFMError
from privacy.identity import Identity
from privacy.secagg.advert import Advert, make_advert
from privacy.secagg.context import Context
from privacy.secagg.dealing import PUBLIC, Dealing
from privacy.secagg.keys import pair_mask_key, self_mask_key
from privacy.secagg.masks import add_streams, add_vector
from privacy.secagg.ring import Ring
from privacy.secagg.roster import Roster
from privacy.secagg.sealing import deal, hold
from privacy.secagg.session_secrets import SessionSecrets
from privacy.secagg.shares import Share
from privacy.secagg.steps import Packet, Protocol, canonical
from privacy.secagg.transcript import Transcript
from tests.privacy.secagg.driver import RECEIVER

Json = dict[str, Any]


class Wire:
    """One member's session, which hears only what the adversary says."""

    def __init__(self, session: Protocol[Any]) -> None:
        self._session = session
        self.said: list[Packet] = [next(session).outgoing[RECEIVER]]
        self.result: Any = None
        self.error: FedEFMError | None = None

    def tell(self, content: Json) -> Json:
        """What the member answers in its next phase; ``{"abort": why}`` where it gives up."""
        self._session.send({})
        step = self._session.send({RECEIVER: Packet(canonical(content))})
        self.said.append(step.outgoing[RECEIVER])
        answer: Json = json.loads(self.said[-1].payload)
        if "abort" in answer or step.phase == "unmask":
            self._end()
        return answer

    @property
    def gave_its_vector(self) -> bool:
        return any(packet.vector is not None for packet in self.said)

    def _end(self) -> None:
        try:
            self._session.send({})
        except StopIteration as finished:
            self.result = finished.value
        except FedEFMError as error:
            self.error = error


@dataclass
class Adversary:
    """Speaks to each member in the receiver's place; tells the truth where a test does not lie."""

    wires: Mapping[str, Wire]
    adverts: Json = field(default_factory=dict)
    dealt: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.adverts |= {
            name: json.loads(wire.said[0].payload) for name, wire in self.wires.items()
        }

    def show_roster(self, names: Collection[str] | None = None) -> Json:
        """What each says to the roster of ``names``: all, unless told otherwise."""
        shown = {
            name: self.adverts[name] for name in self.adverts if names is None or name in names
        }
        answers = {name: wire.tell({"adverts": shown}) for name, wire in self._of(names)}
        self.dealt |= answers
        return answers

    def show_dealings(
        self, names: Collection[str] | None = None, to: Collection[str] | None = None
    ) -> Json:
        """What ``to`` say to the dealings of ``names``; their masked vectors are in ``masked``."""
        owners = sorted(name for name in self.dealt if names is None or name in names)
        return {
            name: wire.tell({"dealings": self.public(owners), "sealed": self.sealed(name, owners)})
            for name, wire in self._of(names if to is None else to)
        }

    def show_members(self, views: Mapping[str, Collection[str]]) -> Json:
        """What each says to its own view of whose vectors arrived."""
        return {name: self.wires[name].tell({"members": sorted(views[name])}) for name in views}

    def ask_to_open(self, names: Collection[str]) -> Json:
        """What each of ``names`` releases of the sum over them, once all consented that can."""
        consents = self.show_members(dict.fromkeys(names, names))
        signatures = {name: consents[name]["signature"] for name in names}
        return {name: self.wires[name].tell({"signatures": signatures}) for name in names}

    def public(self, owners: Collection[str]) -> Json:
        return {owner: {part: self.dealt[owner][part] for part in PUBLIC} for owner in owners}

    def sealed(self, holder: str, owners: Collection[str]) -> Json:
        return {owner: self.dealt[owner]["sealed"][holder] for owner in owners if owner != holder}

    def masked(self, name: str) -> Packet:
        return next(packet for packet in self.wires[name].said if packet.vector is not None)

    def seen(self, context: Context) -> tuple[Roster, dict[str, Dealing]]:
        """The session as the receiver knows it."""
        adverts = {name: Advert.from_json(name, self.adverts[name]) for name in self.adverts}
        roster = Roster(context, adverts)
        given = self.public(sorted(self.dealt))
        return roster, {owner: Dealing.from_json(owner, given[owner], roster) for owner in given}

    def _of(self, names: Collection[str] | None) -> list[tuple[str, Wire]]:
        return [(name, wire) for name, wire in self.wires.items() if names is None or name in names]


class Helper:
    """A member with a good certificate that does whatever the adversary wants."""

    def __init__(self, identity: Identity, context: Context) -> None:
        self.identity, self.secrets = identity, SessionSecrets.fresh()
        self.advert = make_advert(identity, context, 1, self.secrets.keys).to_json()

    def deal(self, roster: Roster) -> Json:
        """Its payload of ``share``."""
        dealing, sealed = deal(self.secrets, roster, self.identity)
        return {**dealing.to_json(), "sealed": {to: sealed[to].hex() for to in sealed}}

    def hold(self, dealings: Mapping[str, Dealing], sealed: Json, roster: Roster) -> None:
        """Open what was sealed for it."""
        for owner, box in sealed.items():
            hold(dealings[owner], bytes.fromhex(box), self.secrets, roster, self.identity.name)

    def consent(self, transcript: Transcript) -> Json:
        consent: Json = json.loads(transcript.sign(self.identity))
        return consent


def released(answers: Mapping[str, Json], kind: str, owner: str, roster: Roster) -> list[Share]:
    """The shares of one secret of ``owner`` in what members released."""
    return [
        Share(roster.index(name), bytes.fromhex(answer[kind][owner]))
        for name, answer in answers.items()
        if owner in answer.get(kind, {})
    ]


def unmasked(
    packet: Packet, ring: Ring, plus: Collection[bytes], minus: Collection[bytes]
) -> NDArray[np.float32]:
    """A masked vector once the keys of its streams are known."""
    assert packet.vector is not None
    total = np.zeros(len(packet.vector) // ring.bytes_per_value, np.uint32)
    add_vector(total, packet.vector, ring)
    add_streams(total, list(minus), list(plus))
    return ring.decode(total)


def streams_of(
    name: str, seed: bytes, private: bytes, roster: Roster, dealt: Collection[str]
) -> tuple[list[bytes], list[bytes]]:
    """The keys with which ``name`` masked, from its two secrets."""
    plus, minus = [self_mask_key(seed, roster.session)], []
    for other in set(dealt) - {name}:
        public = roster.adverts[other].mask_key
        key = pair_mask_key(private, public, roster.session, name, other)
        (plus if name < other else minus).append(key)
    return plus, minus
