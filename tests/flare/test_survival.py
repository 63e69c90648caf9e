"""A federation outlives the deaths of its members. All phases of a round are in kill_phases.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kill_phases import QUICK, QUICK_ROUNDS, processes_die, server_dies, server_job_dies
from loopback import Federation
from tiny import SITES

pytestmark = [pytest.mark.flare, pytest.mark.slow, pytest.mark.xdist_group("flare")]


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory, tiny_sites: Path) -> Iterator[Federation]:
    with Federation(tmp_path_factory.mktemp("survival"), tiny_sites, SITES) as federation:
        federation.provision()
        federation.start()
        federation.be("lead@hub.org")
        federation.wait_ready()
        yield federation


@pytest.mark.timeout(1500)
def test_a_killed_process_and_a_killed_site_miss_rounds_and_end_no_job(
    federation: Federation,
) -> None:
    process, site = processes_die(federation, QUICK, QUICK_ROUNDS)
    for row in (process, site):
        assert row.status == "FINISHED:COMPLETED"
        assert min(row.missed) == row.in_round  # named from the round in which it died
        assert max(row.missed) < QUICK_ROUNDS - 1  # and heard again
        assert row.ledgers_verify
    assert len(site.missed) > len(process.missed)


@pytest.mark.timeout(1500)
def test_a_job_whose_server_process_is_killed_ends_with_a_word_and_is_resumed(
    federation: Federation,
) -> None:
    (row,) = server_job_dies(federation)
    assert row.status == "FINISHED:COMPLETED"
    assert not row.note.startswith("resumed in round 0")
    assert row.ledgers_verify


@pytest.mark.timeout(1500)
def test_a_server_that_was_killed_says_so_of_its_job_when_it_is_back(
    federation: Federation,
) -> None:
    (row,) = server_dies(federation)
    assert "FINISHED:ABANDONED, resumed. " in row.note
    assert "was lost when the server was restarted" in row.note
    assert row.status == "FINISHED:COMPLETED"
    assert not row.note.startswith("resumed in round 0")
    assert row.ledgers_verify
