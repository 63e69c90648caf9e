"""What a run cost, whatever happened in between."""

import pytest

from fedefm.train.totals import totals

SITES = ("a", "b")


def round_of(number, sent=10, participants=SITES):
    yield {"event": "round_started", "round": number}
    for site in SITES:
        yield {
            "event": "round", "round": number, "site": site, "sent_bytes": sent,
            "train_seconds": 1.0, "exchange_seconds": 0.5,
        }  # fmt: skip
    yield {"event": "server", "round": number, "sent_bytes": 3}
    yield {
        "event": "round_finished", "round": number, "participants": list(participants),
        "seconds": 2.0,
    }  # fmt: skip


PUBLISHED = {"event": "published", "round": 2, "sent_bytes": 100}


def test_sums_over_rounds_sites_and_the_last_exchange():
    events = [{"event": "run_started"}, *round_of(0), *round_of(1, participants=["b"]), PUBLISHED]
    sums = totals(events, SITES)
    assert sums.participation == {"a": [0], "b": [0, 1]}
    assert (sums.rounds, sums.sent_bytes) == (2, 2 * 23 + 100)
    assert (sums.train_seconds, sums.exchange_seconds, sums.seconds) == (4.0, 2.0, 4.0)


def test_a_round_that_ran_twice_counts_once_and_as_it_ended():
    cut = [*round_of(0), *round_of(1, sent=999), *list(round_of(2, sent=999))[:2]]
    again = [{"event": "run_started"}, *round_of(1, participants=["a"]), *round_of(2), PUBLISHED]
    assert totals([*cut, *again], SITES) == totals(
        [*round_of(0), *round_of(1, participants=["a"]), *round_of(2), PUBLISHED], SITES
    )


def test_a_run_that_is_begun_again_forgets_the_first_attempt():
    assert totals([*round_of(0, 999), *round_of(1, 999), *round_of(0)], SITES).sent_bytes == 23


def test_a_global_model_that_was_collected_twice_counts_once():
    events = [*round_of(0), *round_of(1), PUBLISHED]
    resumed = [*events, {"event": "run_started"}, PUBLISHED]
    assert totals(resumed, SITES) == totals(events, SITES)


@pytest.mark.parametrize("nothing", [None, 0.0])
def test_seconds_that_no_site_told_are_not_zero(nothing):
    untold = {"train_seconds": nothing, "exchange_seconds": nothing}
    events = [{**e, **untold} if e["event"] == "round" else e for e in round_of(0)]
    sums = totals(events, SITES)
    assert (sums.train_seconds, sums.exchange_seconds, sums.seconds) == (None, None, 2.0)


def test_a_run_without_a_round_costs_nothing():
    sums = totals([], SITES)
    assert sums.participation == {"a": [], "b": []}
    assert (sums.rounds, sums.sent_bytes, sums.seconds) == (0, 0, 0)
