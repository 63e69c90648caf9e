"""What holds for every layout: it has a fixture, is recognized, and comes through ingest whole."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fedefm.data.check import check_manifest
from fedefm.data.choices import LAYOUT_NAMES
from fedefm.data.ingest import ingest
from fedefm.data.layouts import LAYOUTS, PUBLIC, find_layout, passed_over
from fedefm.data.manifest import read_manifest

Make = Callable[[str], Path]

# layout -> images, patients (each file is one where they are not known), masks
COUNTS = {
    "chase-db1": (3, 2, 3),
    "nih-cxr-mini": (3, 2, 0),
    "dsb2018-nuclei": (2, 2, 2),
    "hc18-fetal-head": (3, 2, 3),
    "msd-task04-hippocampus": (2, 2, 2),
    "isic-skin-mini": (1, 1, 1),
    "xa-dicom": (30, 4, 0),
    "cathaction": (5, 5, 5),
    "endovascular": (8, 8, 8),
    "guide3d": (4, 1, 4),
    "ranzcr-clip": (4, 3, 2),
    "arcade": (12, 12, 12),
    "dca1": (2, 2, 2),
    "drive": (3, 3, 3),
    "msd": (9, 3, 9),
    "vessel12": (8, 2, 8),
    "sennet": (8, 3, 8),
    "busi": (4, 4, 4),
    "camus": (8, 2, 8),
    "tn3k": (4, 4, 4),
    "collection": (3, 3, 3),
    "list": (2, 2, 0),
    "classes": (3, 3, 0),
    "images": (1, 1, 1),
}


def test_every_layout_has_a_fixture(fixtures: dict[str, object]) -> None:
    assert tuple(fixtures) == tuple(COUNTS) == LAYOUT_NAMES


@pytest.mark.parametrize("name", LAYOUT_NAMES)
def test_a_layout_says_what_it_is_and_what_its_masks_mean(name: str) -> None:
    about = LAYOUTS[name].about
    assert about.what
    assert about.terms
    if name in PUBLIC:
        assert "://" in about.where
        assert about.masks


@pytest.mark.parametrize("name", LAYOUT_NAMES)
def test_a_layout_is_recognized_and_nothing_of_it_is_passed_over(build: Make, name: str) -> None:
    source = build(name)
    assert find_layout(source) == name
    found = LAYOUTS[name].find(source)
    assert passed_over(source, name, found) == []
    counts = (
        len(found),
        len({item.person for item in found}),
        sum(bool(item.mask or item.drawn) for item in found),
    )
    assert counts == COUNTS[name]


@pytest.mark.parametrize("name", LAYOUT_NAMES)
def test_only_its_own_layout_recognizes_a_public_set(build: Make, name: str) -> None:
    source = build(name)
    takers = [other for other, layout in PUBLIC.items() if layout.matches(source)]
    expected = {"msd-task04-hippocampus": ["msd-task04-hippocampus", "msd"]}
    assert takers == expected.get(name, [name] if name in PUBLIC else [])


def test_a_folder_of_all_public_sets_is_a_collection_of_them(
    tmp_path: Path, fixtures: dict[str, Callable[[Path], object]]
) -> None:
    for name in PUBLIC:
        (tmp_path / name).mkdir()
        fixtures[name](tmp_path / name)
    assert find_layout(tmp_path) == "collection"
    found = LAYOUTS["collection"].find(tmp_path)
    assert len(found) == sum(COUNTS[name][0] for name in PUBLIC)
    assert passed_over(tmp_path, "collection", found) == []


@pytest.mark.parametrize("files", ["link", "png"])
@pytest.mark.parametrize("name", LAYOUT_NAMES)
def test_an_ingested_layout_is_in_order(build: Make, tmp_path: Path, name: str, files: str) -> None:
    made = ingest(build(name), tmp_path / "out", files="png" if files == "png" else "link")
    manifest = read_manifest(made.manifest)
    assert check_manifest(manifest, hashes=True) == []
    assert made.layout == name
    assert made.passed_over == 0
    counts = (
        len(manifest.rows),
        len({row.patient_id for row in manifest.rows}),
        sum(bool(row.mask_path) for row in manifest.rows),
    )
    assert counts == COUNTS[name]


@pytest.mark.parametrize("name", LAYOUT_NAMES)
def test_nothing_matches_an_empty_folder_but_any_folder(tmp_path: Path, name: str) -> None:
    assert LAYOUTS[name].matches(tmp_path) == (name == "images")
    assert LAYOUTS[name].matches(tmp_path / "not there") == (name == "images")
