"""Which kits are the newest."""

from pathlib import Path

import pytest

from fedefm.errors import ProvisionError
from provisioning.workspace import Workspace


@pytest.mark.parametrize("numbers", [["00", "01"], ["99", "100"], ["09", "10", "old"]])
def test_the_newest_kits_have_the_highest_number(tmp_path: Path, numbers: list[str]) -> None:
    for number in numbers:
        (tmp_path / "hearts" / f"prod_{number}").mkdir(parents=True)
    newest = Workspace(tmp_path, "hearts").newest()
    assert newest.name == f"prod_{[n for n in numbers if n.isdecimal()][-1]}"


def test_without_kits_there_is_a_word_on_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="make them with `nvflare provision`"):
        Workspace(tmp_path, "hearts").newest()
