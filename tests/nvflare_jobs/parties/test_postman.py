"""Mail reaches a training process, be it the next one; what it sends has an outcome."""

import pytest
from tiny_process import ask, header, until

from fedefm.errors import MessageRejected
from nvflare_jobs.parties.supervised import TrainingEnded
from nvflare_jobs.parties.tasks import READY, ROUND


def test_mail_is_kept_or_refused_by_the_process(start) -> None:
    site = start()
    ask(site, READY)
    site.take(header(0), b"one")
    with pytest.raises(MessageRejected, match="too late"):
        site.take(header(0), b"late")
    assert ask(site, ROUND)["kept"] == ["one", "late"]


def test_mail_waits_for_the_next_process_but_not_for_a_round_that_is_missed(
    start, tmp_path
) -> None:
    site = start("waits to listen")
    site.take(header(0), b"early")
    (tmp_path / "go").touch()
    assert ask(site, ROUND, round=4)["kept"] == ["early"]
    (tmp_path / "go").unlink()
    with pytest.raises(TrainingEnded):
        ask(site, ROUND, round=5, do="die")
    with pytest.raises(MessageRejected, match=r"\(round 5, weights\).*died in this round"):
        site.take(header(5), b"missed")
    for number in range(8):
        site.take(header(6), f"mail {number}".encode())
    with pytest.raises(MessageRejected, match="too much is waiting"):  # no older mail is lost
        site.take(header(6), b"one more")
    site.take(header(6, "hosp-c"), b"other")
    (tmp_path / "go").touch()
    kept = ask(site, ROUND, round=6)["kept"]
    assert kept == [*(f"mail {number}" for number in range(8)), "other"]


def test_much_mail_is_handed_over_while_the_process_answers(start, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("nvflare_jobs.parties.pipe.STUCK_S", 3)
    site = start("waits to listen")
    sent = [f"{sender} {number}" for sender in range(200) for number in range(8)]
    for text in sent:
        site.take(header(0, text.split()[0]), text.encode())
    (tmp_path / "go").touch()
    told = ask(site, ROUND)
    assert told["life"] == 0
    assert told["kept"] == sent


def test_mail_that_comes_during_the_handing_over_waits_behind(start, tmp_path) -> None:
    site = start("keeps slowly")
    for number in range(4):
        site.take(header(0), f"held {number}".encode())
    (tmp_path / "go").touch()
    until((tmp_path / "keeping").exists)
    site.take(header(0), b"came meanwhile")
    assert ask(site, ROUND)["kept"] == [*(f"held {n}" for n in range(4)), "came meanwhile"]


def test_one_that_dies_of_held_mail_leaves_the_rest_of_it_to_the_next(start, tmp_path) -> None:
    site = start("waits to listen")
    for data in (b"before", b"poison", b"after"):
        site.take(header(0), data)
    (tmp_path / "go").touch()
    told = ask(site, ROUND)
    assert (told["life"], told["kept"]) == (1, ["after"])


def test_no_more_mail_is_held_than_memory_allows(start, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("nvflare_jobs.parties.held.MOST_BYTES", 10)
    site = start("waits to listen")
    site.take(header(0), b"12345678")
    with pytest.raises(MessageRejected, match="too much is waiting"):
        site.take(header(0, "hosp-c"), b"123")
    (tmp_path / "go").touch()
    assert ask(site, ROUND)["kept"] == ["12345678"]


def test_a_message_in_whose_hands_the_process_dies_waits_for_the_next(start) -> None:
    site = start()
    ask(site, ROUND)
    site.take(header(3), b"poison")
    assert ask(site, ROUND, round=3)["kept"] == ["poison"]


@pytest.mark.parametrize(
    ("receiver", "told"),
    [
        ("hosp-b", {"how": "sent", "why": ""}),
        ("silent", {"how": "not taken", "why": "not taken (TIMEOUT)"}),
        ("forbidden", {"how": "forbidden", "why": "the gate"}),
        ("broken", {"how": "not taken", "why": "not taken (KeyError, see the site's own log)"}),
    ],
)
def test_what_is_sent_has_an_outcome(start, receiver, told) -> None:
    assert ask(start(), ROUND, do="send", to=receiver) == told
