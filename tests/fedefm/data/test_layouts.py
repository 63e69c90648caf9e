"""Every known public set: recognized, and found whole, on the real files."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fedefm.data.layouts import LAYOUTS, find_layout, passed_over
from fedefm.data.readers import read_image, read_mask

# folder -> frames, patients, labels, masks (counted by hand from the sets' own descriptions)
KNOWN = {
    "chase-db1": (28, 14, {"chase-db1"}, 28),
    "nih-cxr-mini": (100, 99, {"No_findings", "Pneumonia"}, 0),
    "dsb2018-nuclei": (200, 200, {"dsb2018-fluorescence", "dsb2018-histology"}, 200),
    "hc18-fetal-head": (150, 150, {"hc18-fetal-head"}, 150),
    "msd-task04-hippocampus": (100, 100, {"msd-hippocampus"}, 100),
    "isic-skin-mini": (9, 9, {"isic-skin"}, 9),
    "xa-dicom": (96, 12, {"xa-fluoroscopy"}, 0),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_set_is_recognized_and_found_whole(shared_data: Path, name: str) -> None:
    source = shared_data / name
    if not source.is_dir():
        pytest.skip(f"no sample set {source}")
    frames, patients, labels, masks = KNOWN[name]
    assert find_layout(source) == name
    found = LAYOUTS[name].find(source)
    assert passed_over(source, name, found) == []
    assert len(found) == len({(item.image, item.frame) for item in found}) == frames
    assert len({item.person for item in found}) == patients
    assert {item.label or item.corpus for item in found} == labels
    assert sum(item.mask is not None for item in found) == masks
    for item in (found[0], found[-1]):
        image = read_image(item.image, item.frame)
        if item.mask is not None:
            mask = read_mask(item.mask, item.frame if name.startswith("msd") else 0)
            assert mask.shape == image.shape
            assert mask.any()


def test_persons_of_different_sets_never_meet(shared_data: Path) -> None:
    assert find_layout(shared_data) == "collection"
    persons: dict[str, set[str]] = {}
    found = LAYOUTS["collection"].find(shared_data)
    assert passed_over(shared_data, "collection", found) == []
    for item in found:
        persons.setdefault(item.corpus.split("-")[0], set()).add(item.person)
    union = set().union(*persons.values())
    assert sum(map(len, persons.values())) == len(union)


def test_blocks_of_the_angiogram_are_whole(shared_data: Path) -> None:
    source = shared_data / "xa-dicom"
    if not source.is_dir():
        pytest.skip(f"no sample set {source}")
    persons = [item.person for item in LAYOUTS["xa-dicom"].find(source)]
    changes = np.flatnonzero([a != b for a, b in pairwise(persons)])
    assert changes.tolist() == list(range(7, 95, 8))


def test_anything_else_is_a_folder_of_images(tmp_path: Path) -> None:
    assert find_layout(tmp_path) == "images"
    (tmp_path / "file.png").touch()
    assert find_layout(tmp_path / "file.png") == "images"
