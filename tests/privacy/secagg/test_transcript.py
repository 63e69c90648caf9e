"""Which sets of members can be opened by a receiver that tells each member something else."""

from dataclasses import replace

import pytest

from fedefm.errors import MessageRejected
from privacy.secagg.contributing import Side
from privacy.secagg.dealing import Dealing, digest_of
from privacy.secagg.roster import Roster
from privacy.secagg.steps import canonical
from privacy.secagg.transcript import Transcript, read_consent, read_consents, read_members
from tests.privacy.secagg.adversary import Adversary, Wire
from tests.privacy.secagg.driver import IDENTITIES, NAMES, QUICK, Cast, cast
from tests.privacy.secagg.oracle import Watcher
from tests.privacy.secagg.two_faced import Plot, TwoFaced

FOUR = tuple(NAMES[:4])


def after_dealing(plan: Cast) -> tuple[Roster, dict[str, Dealing]]:
    adversary = Adversary({name: Wire(plan.member(name)) for name in plan.context.members})
    adversary.show_roster()
    return adversary.seen(plan.context)


@pytest.fixture(scope="module")
def transcript() -> Transcript:
    return Transcript(*after_dealing(cast(4)), FOUR)


def test_every_part_of_a_transcript_is_under_its_signature(transcript: Transcript) -> None:
    other_roster, other_dealings = after_dealing(cast(4))
    forged = {
        **transcript.dealings,
        NAMES[0]: replace(transcript.dealings[NAMES[0]], seed_commitment=bytes(32)),
    }
    fewer = {name: transcript.dealings[name] for name in NAMES[:3]}
    others = [
        replace(transcript, roster=other_roster),
        replace(transcript, dealings=other_dealings),
        replace(transcript, dealings=forged),
        replace(transcript, dealings=fewer),
        replace(transcript, summed=FOUR[:3]),
    ]
    assert len({transcript.to_sign, *(other.to_sign for other in others)}) == 6


@pytest.mark.parametrize(
    "change",
    [
        {"run_id": "another"},
        {"round": 4},
        {"what": "metrics"},
        {"receiver": "another"},
        {"agreed": "another model"},
        {"joins": True},
        {"colluders": 0},
        {"members": (*FOUR, "site-05")},
        {"ring": {"bits": 24}},
    ],
)
def test_a_session_is_of_one_context(transcript: Transcript, change: dict[str, object]) -> None:
    context = replace(transcript.roster.context, **change)  # type: ignore[arg-type]
    assert replace(transcript.roster, context=context).session != transcript.roster.session


def test_a_session_is_of_one_roster(transcript: Transcript) -> None:
    roster = transcript.roster
    fewer = {name: roster.adverts[name] for name in NAMES[:3]}
    later = {
        **roster.adverts,
        NAMES[3]: replace(roster.adverts[NAMES[3]], attempt=2),
    }
    sessions = {replace(roster, adverts=adverts).session for adverts in (fewer, later)}
    assert len({roster.session, *sessions}) == 3
    assert replace(roster, adverts=dict(reversed(roster.adverts.items()))).session == roster.session


def test_the_order_of_dealings_makes_no_difference(transcript: Transcript) -> None:
    backwards = dict(reversed(transcript.dealings.items()))
    assert digest_of(backwards) == digest_of(transcript.dealings)
    assert replace(transcript, dealings=backwards).to_sign == transcript.to_sign


def test_who_dealt_and_is_not_summed_is_dropped(transcript: Transcript) -> None:
    assert transcript.dealt == FOUR
    assert transcript.dropped == ()
    assert replace(transcript, summed=(NAMES[0], NAMES[2])).dropped == (NAMES[1], NAMES[3])


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (["site-01", "site-02", "site-09"], "counts in members who dealt no shares"),
        (["site-02", "site-03"], "counts site-01 as dropped"),
        (["site-02", "site-01"], "is not sorted, or names a site twice"),
        (["site-01", "site-01"], "is not sorted, or names a site twice"),
        (["site-01", 2], "is no list of names"),
        ({"site-01": 1}, "is no list of names"),
        ([], "counts site-01 as dropped"),
    ],
)
def test_a_list_of_members_that_cannot_be_is_refused(
    transcript: Transcript, members: object, reason: str
) -> None:
    payload = canonical({"members": members})
    with pytest.raises(MessageRejected, match=reason):
        read_members(payload, "site-01", transcript.roster, transcript.dealings)


def test_a_consent_is_of_its_member_and_its_transcript(transcript: Transcript) -> None:
    own = transcript.sign(IDENTITIES[NAMES[0]])
    assert read_consent(own, NAMES[0], transcript, QUICK)
    for member, seen in ((NAMES[1], transcript), (NAMES[0], replace(transcript, summed=FOUR[:3]))):
        with pytest.raises(MessageRejected, match=r"signature does not fit|certificate"):
            read_consent(own, member, seen, QUICK)


def test_a_consent_of_a_member_outside_the_sum_is_refused(transcript: Transcript) -> None:
    without = replace(transcript, summed=FOUR[:3])
    payload = canonical({"signatures": {NAMES[3]: "00"}})
    with pytest.raises(MessageRejected, match="sites that have no place in it"):
        read_consents(payload, without)


# ---------------------------------------------------------------- a sum over two of seven


class TellsEachAnother(TwoFaced):
    """To each member a sum over four; the first two are in all of them, the others in few."""

    def play(self) -> None:
        self.asked = {
            "site-01": ("site-01", "site-02", "site-03", "site-04"),
            "site-02": ("site-01", "site-02", "site-05", "site-06"),
            "site-03": ("site-01", "site-02", "site-03", "site-07"),
            "site-04": ("site-01", "site-02", "site-04", "site-05"),
            "site-05": ("site-01", "site-02", "site-05", "site-06"),
            "site-06": ("site-01", "site-02", "site-06", "site-07"),
            "site-07": ("site-01", "site-02", "site-03", "site-07"),
        }
        super().play()

    def _face(self, name: str, lie: int) -> frozenset[str]:
        return frozenset(NAMES[:7] if lie < 2 else self.asked[name])


def sums_of(plan: Cast) -> tuple[list[frozenset[str]], Watcher]:
    everyone = frozenset(NAMES[:7])
    faces = (everyone, everyone)
    seen_by = dict.fromkeys(NAMES[:7], (0, 0, 0))
    receiver = TellsEachAnother(plan, Plot(7, 0, faces, faces, faces, seen_by))
    receiver.play()
    solved = receiver.seen.solved(NAMES[:7], [], plan.context.threshold)
    return solved, receiver.seen


def test_without_consents_a_sum_over_two_of_seven_could_be_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = cast(7, colluders=0)
    assert plan.context.threshold == 4
    monkeypatch.setattr(Side, "_require_consents", lambda *arguments: None)
    solved, _ = sums_of(plan)
    assert solved == [frozenset(["site-01", "site-02"])]


def test_with_consents_nobody_releases_a_share_of_such_a_sum() -> None:
    solved, seen = sums_of(cast(7, colluders=0))
    assert solved == []
    assert seen.released == {}
