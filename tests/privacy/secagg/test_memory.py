"""What a site must not forget, through crashes and with two processes at once."""

import os
import secrets
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.errors import PolicyRefused, PrivacyError
from privacy.secagg.memory import SAMPLE, Memory

SUM = '["job","run",3,"sum","server"]'
ONES = np.ones(4, np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "local" / "secure_sums.sqlite"


def test_attempts_count_up_from_one_for_each_sum_of_its_own(path: Path) -> None:
    memory = Memory(path)
    assert memory.next_attempt(SUM) == 1
    memory.claim(SUM, 1)
    assert memory.next_attempt(SUM) == 2
    assert memory.next_attempt("another sum") == 1


def test_an_attempt_is_used_up_for_good(path: Path) -> None:
    Memory(path).claim(SUM, 7)
    for attempt in (7, 6):
        with pytest.raises(PrivacyError, match=rf"attempt {attempt} .* was used before"):
            Memory(path).claim(SUM, attempt)
    assert Memory(path).next_attempt(SUM) == 8


def test_without_a_file_it_lasts_as_long_as_the_object() -> None:
    memory = Memory(None)
    memory.claim(SUM, 1)
    with pytest.raises(PrivacyError, match="used before"):
        memory.claim(SUM, 1)
    assert Memory(None).next_attempt(SUM) == 1


def test_a_claim_survives_a_process_that_is_killed_at_once(path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from privacy.secagg.memory import Memory\n"
        f"Memory(Path(sys.argv[1])).claim({SUM!r}, 1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert Memory(path).next_attempt(SUM) == 2


def test_of_two_processes_that_claim_at_once_one_is_refused(path: Path) -> None:
    Memory(path)
    script = (
        "import sys; from pathlib import Path\n"
        "from fedefm.errors import PrivacyError\n"
        "from privacy.secagg.memory import Memory\n"
        "memory, won = Memory(Path(sys.argv[1])), 0\n"
        "for attempt in range(1, 41):\n"
        "    try:\n"
        "        memory.claim(str(attempt), 1)\n"
        "        won += 1\n"
        "    except PrivacyError as error:\n"
        "        assert 'used before' in str(error), error\n"
        "print(won)"
    )
    command = [sys.executable, "-c", script, str(path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    won = [int(process.communicate()[0]) for process in both]
    assert sum(won) == 40


def test_threads_share_one_memory() -> None:
    memory, refused = Memory(None), list[str]()

    def claim_all() -> None:
        for number in range(50):
            try:
                memory.claim(f"sum {number}", 1)
            except PrivacyError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=claim_all) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 100


def test_it_may_be_used_after_a_fork(path: Path) -> None:
    memory = Memory(path)
    memory.claim(SUM, 1)
    child = os.fork()
    if child == 0:
        os._exit(int(memory.next_attempt(SUM) != 2))
    assert os.waitpid(child, 0)[1] == 0
    assert memory.next_attempt(SUM) == 2


def test_only_its_owner_can_read_the_file(path: Path) -> None:
    Memory(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("what", ["garbage", "folder"])
def test_a_file_that_cannot_be_used_is_named(path: Path, what: str) -> None:
    if what == "folder":
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"no database at all" * 99)
    with pytest.raises(PrivacyError, match=r"secure_sums\.sqlite' cannot be used .*mend its disk"):
        Memory(path)


def test_a_file_that_vanishes_is_not_taken_for_an_empty_one(path: Path) -> None:
    memory = Memory(path)
    memory.claim(SUM, 1)
    path.unlink()
    with pytest.raises(PrivacyError, match="cannot be used"):
        memory.next_attempt(SUM)
    assert not path.exists()


def test_a_new_memory_says_that_it_knows_of_no_earlier_sum(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    Memory(path)
    assert "secure_sums.sqlite is new: nothing is known of sums" in caplog.text
    caplog.clear()
    Memory(path)
    Memory(None)
    assert not caplog.text


def test_who_moves_a_damaged_memory_away_is_told_what_is_lost_with_it(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database at all" * 99)
    with pytest.raises(PrivacyError, match=r"knows none of the sums .* that site's part"):
        Memory(path)


def test_a_full_disk_refuses_the_claim(path: Path) -> None:
    memory = Memory(path)
    path.chmod(0o400)
    if os.access(path, os.W_OK):  # root may write to it all the same
        path.unlink()
        path.symlink_to("/dev/full")
    with pytest.raises(PrivacyError, match="cannot be used"):
        memory.claim(SUM, 1)


def test_each_commit_is_synced_to_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()
    connect = sqlite3.connect

    def traced(*arguments: object, **options: object) -> sqlite3.Connection:
        book = connect(*arguments, **options)  # type: ignore[call-overload]
        book.set_trace_callback(asked.append)
        return book  # type: ignore[no-any-return]

    memory = Memory(path)
    monkeypatch.setattr(sqlite3, "connect", traced)
    memory.claim(SUM, 1)
    assert asked[0] == "PRAGMA synchronous = EXTRA"
    assert asked[1] == "BEGIN IMMEDIATE"
    assert asked[-1] == "COMMIT"


# ---------------------------------------------------------------- fingerprints


@given(
    st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=40),
    st.integers(0, 39),
    st.floats(0.5, 1, width=32),
)
def test_a_fingerprint_is_that_of_its_values(values: list[float], at: int, more: float) -> None:
    memory, x = Memory(None), np.array(values, np.float32)
    changed = x.copy()
    changed[at % len(x)] += np.float32(more)
    assert memory.fingerprint(x) == memory.fingerprint(x.copy())
    assert memory.fingerprint(x) != memory.fingerprint(changed)
    assert memory.fingerprint(x) != memory.fingerprint(np.append(x, np.float32(0)))


def test_a_fingerprint_says_nothing_to_who_lacks_the_key(path: Path) -> None:
    assert Memory(path).fingerprint(ONES) == Memory(path).fingerprint(ONES)
    assert Memory(path).fingerprint(ONES) != Memory(None).fingerprint(ONES)


@pytest.mark.parametrize("length", [SAMPLE, SAMPLE + 1, 3 * SAMPLE + 5])
def test_a_fingerprint_looks_at_a_bounded_number_of_values_from_all_over(length: int) -> None:
    memory, x = Memory(None), np.zeros(length, np.float32)
    stride = -(-length // SAMPLE)
    assert length / stride <= SAMPLE
    mark = memory.fingerprint(x)
    last = (length - 1) // stride * stride
    for place in (0, stride, last):
        x[place] = 1
        assert memory.fingerprint(x) != mark
        x[place] = 0
    assert memory.fingerprint(x) == mark


# ---------------------------------------------------------------- sums opened


def opened(
    path: Path, members: str, x: np.ndarray = ONES, receiver: str = "server", key: str | None = None
) -> None:
    """In a sum of its own, but where its ``key`` is given."""
    memory = Memory(path)
    key = secrets.token_hex() if key is None else key
    memory.open(key, memory.fingerprint(x), receiver, members.split(), min_cohort=2)


@pytest.mark.parametrize("second", ["a b c d", "a b c d e f", "a b c", "a b c d e g", "c d e"])
def test_the_same_input_is_not_given_where_the_difference_shows_a_few(
    path: Path, second: str
) -> None:
    opened(path, "a b c d e")
    with pytest.raises(PolicyRefused, match=r"would show what .* alone gave"):
        opened(path, second)


@pytest.mark.parametrize("second", ["a b c d e", "a b", "a f g h", "e d c b a"])
def test_the_same_input_may_be_given_where_the_difference_hides_it(path: Path, second: str) -> None:
    opened(path, "a b c d e")
    opened(path, second)


def test_another_input_or_another_receiver_is_another_matter(path: Path) -> None:
    opened(path, "a b c d e")
    opened(path, "a b c d", x=2 * ONES)
    opened(path, "a b c d", receiver="another")


@pytest.mark.parametrize("second", ["a b c d", "a b c d e f", "c d e"])
def test_in_the_same_sum_another_input_is_no_excuse(path: Path, second: str) -> None:
    opened(path, "a b c d e", key=SUM)
    with pytest.raises(PolicyRefused, match=r"would show what .* alone gave"):
        opened(path, second, x=np.nextafter(ONES, 2 * ONES), key=SUM)
    opened(path, "a b", x=2 * ONES, key=SUM)
    with pytest.raises(PolicyRefused, match="two different sets"):
        opened(path, "a f g h i j k", x=3 * ONES, key=SUM)
    opened(path, "a b c d e", x=4 * ONES, key=SUM)


def test_a_memory_of_before_sums_were_noted_is_read_on(path: Path) -> None:
    opened(path, "a b c d e")
    with sqlite3.connect(path) as book:
        book.execute("DROP TABLE shown")
    with pytest.raises(PolicyRefused, match="would show"):
        opened(path, "a b c d")


def test_what_was_refused_leaves_no_trace(path: Path) -> None:
    opened(path, "a b c d e f g h")
    with pytest.raises(PolicyRefused):
        opened(path, "a b c d e f")
    opened(path, "a b c d e")
