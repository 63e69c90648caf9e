"""Frames arrive whole and in order, whoever sends them at the same time, and an end is noticed."""

import threading
from collections.abc import Iterator

import pytest

from nvflare_jobs.parties import pipe
from nvflare_jobs.parties.pipe import Pipe, pipe_and_handle

MORE_THAN_A_SOCKET_HOLDS = 3_000_000


@pytest.fixture
def ends() -> Iterator[tuple[Pipe, Pipe]]:
    one, handle = pipe_and_handle()
    other = Pipe(handle)
    yield one, other
    one.close()
    other.close()


def test_a_frame_arrives_as_it_was_sent(ends) -> None:
    ends[0].send(pipe.TASK, b"\x00raw\xff", task="fedefm_round", numbers={"round": 3, "who": "ä"})
    ends[0].send(pipe.STOP)
    head, payload = ends[1].receive()
    assert (head["kind"], head["task"]) == ("task", "fedefm_round")
    assert head["numbers"] == {"round": 3, "who": "ä"}
    assert payload == b"\x00raw\xff"
    assert ends[1].receive() == ({"kind": "stop", "bytes": 0}, b"")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_raw_bytes_of_any_kind_travel(ends, kind) -> None:
    ends[0].send(pipe.MESSAGE, kind(b"abc"))
    assert ends[1].receive()[1] == b"abc"


def test_frames_of_several_threads_do_not_mix(ends) -> None:
    def send(number: int) -> None:
        payload = bytes([number]) * MORE_THAN_A_SOCKET_HOLDS
        ends[0].send(pipe.SEND, payload, number=number)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    found = [ends[1].receive() for _ in threads]
    assert sorted(head["number"] for head, _ in found) == [0, 1, 2, 3]
    for head, payload in found:
        assert len(payload) == MORE_THAN_A_SOCKET_HOLDS
        assert set(payload) == {head["number"]}
    for thread in threads:
        thread.join()


def test_who_receives_notices_the_other_end_closing(ends) -> None:
    ends[0].close()
    with pytest.raises((EOFError, OSError)):
        ends[1].receive()


def test_who_sends_notices_the_other_end_closing(ends) -> None:
    ends[1].close()
    with pytest.raises(BrokenPipeError):
        ends[0].send(pipe.TASK, bytes(MORE_THAN_A_SOCKET_HOLDS))


def test_who_sends_is_not_held_up_forever(monkeypatch) -> None:
    monkeypatch.setattr(pipe, "STUCK_S", 1)
    one, handle = pipe_and_handle()
    other = Pipe(handle)
    with pytest.raises(BlockingIOError):
        one.send(pipe.TASK, bytes(MORE_THAN_A_SOCKET_HOLDS))
    one.close()
    other.close()


def test_what_json_cannot_hold_is_not_half_sent(ends) -> None:
    with pytest.raises(TypeError):
        ends[0].send(pipe.ANSWER, answer={1, 2})
    ends[0].send(pipe.STOP)
    assert ends[1].receive()[0]["kind"] == "stop"
