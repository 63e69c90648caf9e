"""The oracle itself must see what is exposed, else its silence means nothing."""

from privacy.secagg.steps import Packet, canonical
from tests.privacy.secagg.oracle import Watcher

TRIO = ["a", "b", "c"]


def watched(released: dict[str, dict[str, list[str]]]) -> Watcher:
    """Three members saw the same, and all their vectors are there."""
    watcher = Watcher()
    for name in TRIO:
        watcher.arrived(1, name, Packet(canonical({"adverts": {}})))
        watcher.arrived(3, name, Packet(canonical({"dealings": dict.fromkeys(TRIO, "")})))
        watcher.masked.add(name)
    for holder, kinds in released.items():
        shares = {kind: dict.fromkeys(owners, "") for kind, owners in kinds.items()}
        watcher.said(8, holder, Packet(canonical(shares)))
    return watcher


def test_nothing_is_solved_while_the_self_masks_are_on() -> None:
    assert watched({}).solved(TRIO, [], 2) == []


def test_the_sum_and_no_more_is_solved_once_all_seeds_are_out() -> None:
    everyone = {"seed": TRIO, "key": []}
    watcher = watched({"a": everyone, "b": everyone})
    assert watcher.solved(TRIO, [], 2) == [frozenset(TRIO)]
    assert watcher.solved(TRIO, [], 3) == []


def test_both_kinds_of_shares_of_one_member_expose_it() -> None:
    seed, key = {"seed": ["a"], "key": []}, {"seed": [], "key": ["a"]}
    watcher = watched({"a": seed, "b": key})
    assert watcher.solved(TRIO, [], 2) == []
    assert watcher.solved(TRIO, ["c"], 2) == [frozenset("a")]


def test_who_is_alone_among_colluders_is_exposed_by_the_sum() -> None:
    everyone = {"seed": TRIO, "key": []}
    watcher = watched({"a": everyone})
    assert watcher.solved(TRIO, ["b", "c"], 3) == [frozenset("a")]
