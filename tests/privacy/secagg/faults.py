"""What a network that fails, a member that lies or a relay that meddles can do to a packet."""

import functools
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from privacy.secagg import sealing
from privacy.secagg.payload import MOST_BYTES
from privacy.secagg.roster import Roster
from privacy.secagg.session_secrets import Pair, SessionSecrets
from privacy.secagg.shares import Share, split
from privacy.secagg.steps import Packet, canonical
from tests.privacy.secagg.driver import RECEIVER, cast
from tests.privacy.secagg.oracle import Watcher

Content = dict[str, Any]
Link = tuple[int, str, str]  # step, sender, addressee

LOSSES = ("silent", "late", "twice", "gone")


@dataclass
class FaultyNetwork:
    """Does to each packet what ``faults`` say for its step and its member."""

    faults: Mapping[tuple[int, str], str]
    earlier: Mapping[Link, Packet] = field(default_factory=dict)  # of an attempt before
    seen: Watcher = field(default_factory=Watcher)
    now: dict[Link, Packet] = field(default_factory=dict)
    held_back: dict[tuple[str, str], Packet] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def __call__(self, step: int, sender: str, addressee: str, packet: Packet) -> Packet | None:
        member = addressee if sender == RECEIVER else sender
        if sender == member:
            self.seen.said(step, member, packet)
        self.now[step, sender, addressee] = packet
        arriving = self._changed((step, sender, addressee), member, packet)
        if arriving is not None and addressee == member:
            self._note(step, member, arriving)
        return arriving

    def _changed(self, link: Link, member: str, packet: Packet) -> Packet | None:
        fault = self.faults.get((link[0], member), "none")
        if fault == "gone":
            self.gone.add(member)
        delayed = self.held_back.pop(link[1:], None)
        if member in self.gone or fault == "silent":
            return None
        if fault == "late":
            self.held_back[link[1:]] = packet
            return None
        if fault == "twice":
            return self.now.get((link[0] - 2, *link[1:]), packet)
        if fault == "replayed":
            return self.earlier.get(link, packet)
        if fault == "another's":
            return self._of_another(link, packet)
        return CHANGES[fault](packet) if fault in CHANGES else delayed or packet

    def _of_another(self, link: Link, packet: Packet) -> Packet:
        """But with its own vector, which the envelope binds to its sender."""
        others = [other for other in self.now if other[0] == link[0] and other != link]
        return replace(self.now[others[0]], vector=packet.vector) if others else packet

    def _note(self, step: int, member: str, packet: Packet) -> None:
        with suppress(ValueError, RecursionError):  # what the member will not understand either
            self.seen.arrived(step, member, packet)


@functools.cache
def earlier_attempt(size: int) -> Mapping[Link, Packet]:
    """All packets of a sum over the same members that went well."""
    network = FaultyNetwork({})
    cast(size).run(network)
    return network.now


def _edited(edit: Callable[[Content], None]) -> Callable[[Packet], Packet]:
    """An edit of the content, where the packet has what it edits."""

    def change(packet: Packet) -> Packet:
        content = json.loads(packet.payload)
        try:
            edit(content)
        except (KeyError, IndexError, StopIteration, TypeError):
            return packet
        return replace(packet, payload=canonical(content))

    return change


def _first(content: Mapping[str, Any]) -> str:
    return next(iter(content))


def _last(content: Mapping[str, Any]) -> str:
    return list(content)[-1]


def _flipped(text: str) -> str:
    return text[:-1] + ("0" if text[-1] != "0" else "1")


def _altered(packet: Packet) -> Packet:
    place = len(packet.payload) * 2 // 3
    other = b"7" if packet.payload[place : place + 1] != b"7" else b"8"
    return replace(packet, payload=packet.payload[:place] + other + packet.payload[place + 1 :])


def _substituted_key(content: Content) -> None:
    advert = content["adverts"][_last(content["adverts"])] if "adverts" in content else content
    advert["mask_key"] = SessionSecrets.fresh().keys.mask_public.hex()


def _wrong_share(content: Content) -> None:
    for kind in ("seed", "key"):
        for owner in content[kind]:
            content[kind][owner] = _flipped(content[kind][owner])


def _both_kinds(content: Content) -> None:
    content["key"] |= content["seed"]


def _one_less(name: str) -> Callable[[Content], None]:
    def edit(content: Content) -> None:
        if isinstance(content[name], list):
            content[name].pop()
        else:
            del content[name][_last(content[name])]

    return edit


def _wrong_seal(content: Content) -> None:
    sealed = content["sealed"]
    sealed[_first(sealed)] = _flipped(sealed[_first(sealed)])


def _wrong_signature(content: Content) -> None:
    if "signatures" in content:
        signatures = content["signatures"]
        signatures[_first(signatures)] = _flipped(signatures[_first(signatures)])
    else:
        content["signature"] = _flipped(content["signature"])


CHANGES: dict[str, Callable[[Packet], Packet]] = {
    "garbage": lambda packet: replace(packet, payload=b"\x00\xff{" * 9),
    "nothing": lambda packet: replace(packet, payload=b""),
    "deep": lambda packet: replace(packet, payload=b"[" * 100_000),
    "huge": lambda packet: replace(packet, payload=b" " * (MOST_BYTES + 1)),
    "utf-16": lambda packet: replace(packet, payload=packet.payload.decode().encode("utf-16")),
    "surrogate": lambda packet: replace(packet, payload=b'{"abort":"\\ud800"}'),
    "big number": lambda packet: replace(packet, payload=b'{"attempt":' + b"9" * 5000 + b"}"),
    "spaced": lambda packet: replace(packet, payload=packet.payload + b" "),
    "key twice": lambda packet: replace(
        packet, payload=packet.payload[:-1] + b"," + packet.payload[1:]
    ),
    "list": lambda packet: replace(packet, payload=b"[" + packet.payload + b"]"),
    "altered": _altered,
    "resigns": lambda packet: Packet(canonical({"abort": "no longer"})),
    "wrong types": _edited(lambda content: content.update(dict.fromkeys(content, 7))),
    "nulls": _edited(lambda content: content.update(dict.fromkeys(content, None))),
    "lists": _edited(lambda content: content.update({name: [{}] for name in content})),
    "key less": _edited(lambda content: content.pop(_first(content)) and None),
    "key more": _edited(lambda content: content.update(more=1)),
    "no vector": lambda packet: replace(packet, vector=None),
    "short vector": lambda packet: replace(
        packet, vector=None if packet.vector is None else packet.vector[:-1]
    ),
    "words": lambda packet: replace(
        packet, vector=None if packet.vector is None else packet.vector.astype("uint16")
    ),
    "substituted key": _edited(_substituted_key),
    "wrong seal": _edited(_wrong_seal),
    "wrong signature": _edited(_wrong_signature),
    "wrong share": _edited(_wrong_share),
    "both kinds": _edited(_both_kinds),
    "advert less": _edited(_one_less("adverts")),
    "dealing less": _edited(_one_less("dealings")),
    "member less": _edited(_one_less("members")),
    "consent less": _edited(_one_less("signatures")),
    "commitment less": _edited(_one_less("commitments")),
    "seal less": _edited(_one_less("sealed")),
    "share less": _edited(_one_less("seed")),
}
LIES = ("replayed", "another's", *CHANGES)
DEALINGS = ("other secrets", "one off", "other sealed")


class FalseDealers:
    """Members that deal wrong shares and commit to them, by the secrets that they were given."""

    def __init__(self, ways: Mapping[int, str]) -> None:
        self._ways = ways
        self._split, self._seal = sealing._split, sealing._seal

    def split(self, secrets: SessionSecrets, roster: Roster) -> dict[str, Pair]:
        """In place of ``sealing._split``."""
        pairs, way = self._split(secrets, roster), self._ways.get(id(secrets))
        if way == "other secrets":
            other = split(bytes(32), roster.context.threshold, len(pairs))
            return {to: (other[place],) * 2 for place, to in enumerate(pairs)}
        if way == "one off":
            to = _first(pairs)
            pairs[to] = (_one_more(pairs[to][0]), _one_more(pairs[to][1]))
        return pairs

    def seal(
        self, owner: str, to: str, pair: Pair, secrets: SessionSecrets, roster: Roster
    ) -> bytes:
        """In place of ``sealing._seal``."""
        if self._ways.get(id(secrets)) == "other sealed":
            pair = (_one_more(pair[0]), pair[1])
        return self._seal(owner, to, pair, secrets, roster)


def _one_more(share: Share) -> Share:
    return Share(share.index, bytes([*share.value[:-1], share.value[-1] ^ 1]))
