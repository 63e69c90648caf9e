import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.data.pseudonyms import KEY_NAME, new_key, pseudonym, read_key, write_key
from fedefm.errors import DataError


@given(first=st.text(), second=st.text())
def test_the_same_person_has_the_same_pseudonym_and_no_other(first: str, second: str) -> None:
    key = b"k" * 32
    assert (pseudonym(key, first) == pseudonym(key, second)) == (first == second)


def test_without_the_key_nothing_connects() -> None:
    assert pseudonym(new_key(), "Miller") != pseudonym(new_key(), "Miller")
    assert "Miller" not in pseudonym(new_key(), "Miller")


def test_the_key_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    key = new_key()
    write_key(tmp_path, key)
    assert (tmp_path / KEY_NAME).stat().st_mode & 0o777 == 0o600
    assert read_key(tmp_path / KEY_NAME) == key


@pytest.mark.parametrize("content", ["", "abcd", "no hex", "00" * 31])
def test_what_is_no_key_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(DataError, match="not a pseudonym key"):
        read_key(tmp_path / "key")
    with pytest.raises(DataError, match="cannot be read"):
        read_key(tmp_path / "none")


@pytest.mark.timeout(20)  # reading them would never end
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipes_and_devices_are_no_keys(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(DataError, match="pipe or a device"):
        read_key(path)
