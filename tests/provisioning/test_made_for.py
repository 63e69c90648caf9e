"""A kit says which versions it is for, and runs with no others."""

import json
from pathlib import Path

import pytest

from fedefm import __version__
from fedefm.errors import ProvisionError
from fedefm.versions import release
from provisioning.made_for import STAMP, installed_flare, read_stamp, refuse_other_versions, stamp


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / STAMP).write_text(json.dumps(stamp("site")))
    return tmp_path


def restamp(kit: Path, **changed: object) -> None:
    path = kit / "local" / STAMP
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def test_a_new_kit_is_made_for_what_is_installed(kit):
    refuse_other_versions(kit)
    found = read_stamp(kit)
    assert (found.toolkit, found.nvflare, found.role) == (__version__, installed_flare(), "site")


def test_a_patch_needs_no_new_kit(kit):
    restamp(kit, toolkit=f"{release(__version__)}.99", nvflare=f"{release(installed_flare())}.99")
    refuse_other_versions(kit)


@pytest.mark.parametrize(
    ("package", "name", "installed"),
    [("fedefm", "toolkit", __version__), ("nvflare", "nvflare", installed_flare())],
)
def test_another_release_is_refused_with_both_versions_and_the_way_out(
    kit, package, name, installed
):
    restamp(kit, **{name: "99.1.2"})
    with pytest.raises(ProvisionError) as refused:
        refuse_other_versions(kit)
    assert f"made for {package} 99.1.2, and {installed} is installed" in str(refused.value)
    assert f"install `{package}==99.1.*`" in str(refused.value)


@pytest.mark.parametrize("content", [None, "", "[]", '{"toolkit": "0.1.0"}', b"\xff"])
def test_a_kit_without_a_stamp_that_can_be_read_is_refused(kit, content):
    path = kit / "local" / STAMP
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ProvisionError, match=rf"{STAMP}.*have the kit made again"):
        refuse_other_versions(kit)


def test_a_version_that_is_no_text_is_refused(kit):
    restamp(kit, toolkit=1)
    with pytest.raises(ProvisionError, match="something else than text"):
        read_stamp(kit)
