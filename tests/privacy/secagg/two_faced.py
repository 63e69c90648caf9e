"""A receiver that shows members different rosters, dealings and sums, with helpers among them."""

import json
from dataclasses import dataclass, field
from functools import cached_property

from hypothesis import strategies as st

from privacy.secagg.advert import Advert
from privacy.secagg.dealing import PUBLIC, Dealing
from privacy.secagg.roster import Roster
from privacy.secagg.steps import Packet, canonical
from privacy.secagg.transcript import Transcript
from tests.privacy.secagg.adversary import Helper, Json, Wire
from tests.privacy.secagg.driver import IDENTITIES, NAMES, Cast
from tests.privacy.secagg.oracle import Watcher

Face = frozenset[str]  # who is listed; the others of the plan are left out


@dataclass(frozen=True)
class Plot:
    """Two faces for each of three lies, and which of them each honest member sees."""

    size: int
    helpers: int
    rosters: tuple[Face, Face]
    dealings: tuple[Face, Face]
    members: tuple[Face, Face]
    seen_by: dict[str, tuple[int, int, int]]


@st.composite
def plots(draw: st.DrawFn, helpers: int) -> Plot:
    size = draw(st.integers(helpers + 2, 7))
    names = frozenset(NAMES[:size])
    faces = st.frozensets(st.sampled_from(NAMES[:size]), max_size=2).map(names.difference)
    rosters = st.one_of(st.just((names, names)), st.tuples(faces, faces))
    which = st.tuples(*[st.integers(0, 1)] * 3)
    honest = NAMES[: size - helpers]
    return Plot(
        size,
        helpers,
        draw(rosters),
        draw(st.tuples(faces, faces)),
        draw(st.tuples(faces, faces)),
        {name: draw(which) for name in honest},
    )


@dataclass
class TwoFaced:
    """Plays a ``Plot`` with honest members, and notes all that they say."""

    plan: Cast
    plot: Plot
    seen: Watcher = field(default_factory=Watcher)
    rosters: dict[str, Roster] = field(default_factory=dict)  # as each member saw it
    dealings: dict[str, Json] = field(default_factory=dict)
    views: dict[str, list[str]] = field(default_factory=dict)

    @cached_property
    def wires(self) -> dict[str, Wire]:
        return {name: Wire(self.plan.member(name)) for name in self.plot.seen_by}

    @cached_property
    def helpers(self) -> dict[str, Helper]:
        names = NAMES[self.plot.size - self.plot.helpers : self.plot.size]
        return {name: Helper(IDENTITIES[name], self.plan.context) for name in names}

    def play(self) -> None:
        self.rosters = self._rosters()
        dealt = self._tell(1, {n: {"adverts": self.rosters[n].to_json()} for n in self.wires})
        self.dealings = {name: self._dealings(name, dealt) for name in dealt}
        masked = self._tell(3, {name: _as_shown(name, self.dealings[name]) for name in dealt})
        self.views = {n: sorted(self._face(n, 2) & self.dealings[n].keys()) for n in masked}
        consents = self._tell(5, {name: {"members": self.views[name]} for name in masked})
        self._tell(7, {name: self._signatures(name, consents) for name in consents})

    def _face(self, name: str, lie: int) -> Face:
        faces = (self.plot.rosters, self.plot.dealings, self.plot.members)[lie]
        return faces[self.plot.seen_by[name][lie]]

    def _rosters(self) -> dict[str, Roster]:
        adverts = {name: wire.said[0].payload for name, wire in self.wires.items()}
        adverts |= {name: canonical(helper.advert) for name, helper in self.helpers.items()}
        known = {to: Advert.from_json(to, json.loads(adverts[to])) for to in adverts}
        return {
            name: Roster(self.plan.context, {to: known[to] for to in self._face(name, 0)})
            for name in self.wires
        }

    def _dealings(self, name: str, dealt: Json) -> Json:
        """Those of the roster that ``name`` saw, as any other is refused at once."""
        roster = self.rosters[name]
        fitting = {to: dealt[to] for to in dealt if self.rosters[to].session == roster.session}
        for helper in self.helpers.keys() & set(roster.members):
            fitting[helper] = self._of_helper(helper, roster)
        return {to: fitting[to] for to in fitting.keys() & self._face(name, 1)}

    def _of_helper(self, helper: str, roster: Roster) -> Json:
        """The same for all who saw this roster."""
        if (helper, roster.session) not in self._dealt_by_helpers:
            self._dealt_by_helpers[helper, roster.session] = self.helpers[helper].deal(roster)
        return self._dealt_by_helpers[helper, roster.session]

    @cached_property
    def _dealt_by_helpers(self) -> dict[tuple[str, bytes], Json]:
        return {}

    def _signatures(self, name: str, consents: Json) -> Json:
        """All that the receiver has or can get for what ``name`` saw."""
        roster, view = self.rosters[name], self.views[name]
        dealings = {
            owner: Dealing.from_json(owner, {part: dealt[part] for part in PUBLIC}, roster)
            for owner, dealt in self.dealings[name].items()
        }
        transcript = Transcript(roster, dealings, tuple(view))
        consents = {
            **consents,
            **{name: helper.consent(transcript) for name, helper in self.helpers.items()},
        }
        return {"signatures": {to: consents[to]["signature"] for to in consents if to in view}}

    def _tell(self, step: int, contents: Json) -> Json:
        """What those answer who do not give up."""
        answers = {}
        for name, content in contents.items():
            self.seen.arrived(step, name, Packet(canonical(content)))
            answer = self.wires[name].tell(content)
            self.seen.said(step + 1, name, self.wires[name].said[-1])
            if "abort" not in answer:
                answers[name] = answer
        return answers


def _as_shown(name: str, dealings: Json) -> Json:
    """The payload of ``deal``."""
    return {
        "dealings": {to: {part: dealings[to][part] for part in PUBLIC} for to in dealings},
        "sealed": {to: dealings[to]["sealed"][name] for to in dealings if to != name},
    }
