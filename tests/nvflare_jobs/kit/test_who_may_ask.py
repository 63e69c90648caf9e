"""A site answers its hub and itself, and takes of its peers messages alone."""

import pytest
from nvflare.private.defs import TrainingTopic

from nvflare_jobs.kit.who_may_ask import Asked, may_ask

JOB = "0b7c9a52-1111-4222-8333-444455556666"
PARENT, CHILD = "hosp-B", f"hosp-B.{JOB}"
PEER, PEERS_JOB = "hosp-a", f"hosp-a.{JOB}"


@pytest.mark.parametrize("topic", ["sys.shell", "sys.report_env", "train.delete_run"])
@pytest.mark.parametrize("origin", ["server", PEER, PEERS_JOB, CHILD])
def test_nobody_reads_files_or_deletes_folders_over_the_wire(origin: str, topic: str) -> None:
    assert not may_ask(PARENT, Asked(origin, "admin", topic))


@pytest.mark.parametrize("topic", ["train.deploy", "train.start_job", "train.abort"])
def test_the_hub_alone_gives_commands(topic: str) -> None:
    assert may_ask(PARENT, Asked("server", "admin", topic))
    for stranger in (PEER, PEERS_JOB, f"server.{JOB}", CHILD):
        assert not may_ask(PARENT, Asked(stranger, "admin", topic))


def test_a_job_tells_its_own_parent_how_it_stands() -> None:
    """FLARE's job process asks again for ever until it is answered, and begins nothing."""
    topic = TrainingTopic.NOTIFY_JOB_STATUS
    assert may_ask(PARENT, Asked(CHILD, "admin", topic))
    for stranger in (PEER, PEERS_JOB, f"server.{JOB}"):
        assert not may_ask(PARENT, Asked(stranger, "admin", topic))
    assert not may_ask(CHILD, Asked(f"{PARENT}.another-job", "admin", topic))


def test_a_parent_answers_its_own_jobs_and_no_peer() -> None:
    for channel in ("aux_communication", "server_command", "cellnet.channel"):
        assert may_ask(PARENT, Asked(CHILD, channel, "any"))
        assert not may_ask(PARENT, Asked(PEERS_JOB, channel, "any"))
        assert not may_ask(PARENT, Asked(PEER, channel, "any"))


def test_a_job_is_commanded_by_its_own_parent_alone() -> None:
    assert may_ask(CHILD, Asked(PARENT, "client_command", "abort"))
    for stranger in ("server", f"server.{JOB}", PEER, PEERS_JOB):
        assert not may_ask(CHILD, Asked(stranger, "client_command", "abort"))


@pytest.mark.parametrize("streamed", [False, True])
def test_a_peer_hands_tasks_to_a_job_and_fires_no_events(streamed: bool) -> None:
    def asked(topic: str, origin: str = PEERS_JOB) -> Asked:
        if streamed:
            return Asked(origin, "sm__STREAM", "sm__DATA", "aux_communication", topic)
        return Asked(origin, "aux_communication", topic)

    assert may_ask(CHILD, asked("__do_task__"))
    assert not may_ask(CHILD, asked("fed.event"))
    assert not may_ask(CHILD, asked("__end_run__"))
    assert not may_ask(CHILD, asked("__do_task__", "hosp-a.another-job"))
    assert not may_ask(CHILD, asked("__do_task__", PEER))
    assert may_ask(CHILD, asked("fed.event", f"server.{JOB}"))


def test_a_peers_answers_and_certificate_come_through() -> None:
    assert may_ask(CHILD, Asked(PEERS_JOB, "sm__STREAM", "sm__DATA", "return_only", "x"))
    assert may_ask(CHILD, Asked(PEERS_JOB, "sm__STREAM", "sm__ACK"))
    assert may_ask(CHILD, Asked(PEERS_JOB, "credential_manager", "key_exchange"))
    assert may_ask(CHILD, Asked(PEERS_JOB, "cellnet.channel", "bye"))
    assert not may_ask(CHILD, Asked(PEERS_JOB, "cellnet.channel", "bulk"))  # holds any others


def test_flares_tools_for_debugging_are_shut() -> None:
    for origin in ("server", PEER, PEERS_JOB, CHILD):
        assert not may_ask(PARENT, Asked(origin, "_net_manager", "process_info"))
        assert not may_ask(CHILD, Asked(origin, "sm__STREAM", "sm__DATA", "_net_manager", "stop"))


def test_a_site_whose_name_begins_as_another_ones_is_a_stranger() -> None:
    assert not may_ask("hosp", Asked(f"hosp-B.{JOB}", "aux_communication", "any"))
    assert not may_ask("hosp-B", Asked("server-of-mine", "admin", "train.deploy"))
