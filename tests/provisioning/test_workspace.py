"""Which kits are the newest."""

from pathlib import Path

import pytest

from fedefm.errors import ProvisionError
from provisioning.project_edit import ProjectFile, read_project
from provisioning.workspace import Workspace, make_kits


@pytest.mark.parametrize("numbers", [["00", "01"], ["99", "100"], ["09", "10", "old"]])
def test_the_newest_kits_have_the_highest_number(tmp_path: Path, numbers: list[str]) -> None:
    for number in numbers:
        (tmp_path / "hearts" / f"prod_{number}").mkdir(parents=True)
    newest = Workspace(tmp_path, "hearts").newest()
    assert newest.name == f"prod_{[n for n in numbers if n.isdecimal()][-1]}"


def test_without_kits_there_is_a_word_on_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="make them with `nvflare provision`"):
        Workspace(tmp_path, "hearts").newest()


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("heart_beat_timeout_s: 60, nonsense: 1", "unexpected keyword argument 'nonsense'"),
        ("retired: [hosp-B]", "'hosp-B' is retired"),
    ],
)
def test_why_flare_makes_no_kits_is_told_in_its_words(
    tmp_path: Path, setting: str, told: str
) -> None:
    with pytest.raises(ProvisionError, match=r"made no kits of .*project\.yml") as refused:
        make_kits(_project(tmp_path, setting), Workspace(tmp_path / "workspace", "hearts"))
    assert told in str(refused.value)
    assert "Hint" not in str(refused.value)
    assert "Code:" not in str(refused.value)


def test_a_workspace_that_cannot_be_made_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "workspace").write_text("a file")
    with pytest.raises(ProvisionError, match=r"Not a directory|File exists"):
        make_kits(_project(tmp_path, ""), Workspace(tmp_path / "workspace", "hearts"))


def _project(folder: Path, setting: str) -> ProjectFile:
    path = folder / "project.yml"
    path.write_text(
        "api_version: 3\nname: hearts\nparticipants:\n"
        "  - {name: localhost, type: server, org: hub, fed_learn_port: 8102}\n"
        "  - {name: hosp-B, type: client, org: b}\n"
        "builders:\n  - path: nvflare.lighter.impl.workspace.WorkspaceBuilder\n"
        f"  - path: provisioning.builders.HardenedKitBuilder\n    args: {{{setting}}}\n"
    )
    return read_project(path)
