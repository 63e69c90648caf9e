"""A link in a source that leads out of it is left out and listed; nobody named what lies there."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedefm.data.found import Found
from fedefm.data.ingest import Ingested, ingest
from fedefm.data.links import without_outward
from fedefm.data.public_sets.drawing import FilledOutline, Joined
from fedefm.errors import DataError


def draw(path: Path, gray: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(gray).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def left_out(made: Ingested) -> list[int]:
    """Numbers of files, by the report."""
    return [
        line.file for line in made.report if line.outcome == "left out" and "link" in line.reason
    ]


def test_a_link_to_a_file_elsewhere_is_left_out_and_listed(tmp_path: Path) -> None:
    draw(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "a.png").symlink_to(draw(tmp_path / "elsewhere" / "Miller.png"))
    made = ingest(tmp_path / "in", tmp_path / "out")
    assert len(made.rows) == 1
    assert len(left_out(made)) == 1
    (line,) = made.report
    assert "copy that there" in line.reason
    assert "Miller" not in line.reason


def test_a_link_to_a_folder_elsewhere_is_one_line(tmp_path: Path) -> None:
    draw(tmp_path / "in" / "b.png")
    for name in ("a.png", "b.png"):
        draw(tmp_path / "elsewhere" / name)
    (tmp_path / "in" / "more").symlink_to(tmp_path / "elsewhere")
    made = ingest(tmp_path / "in", tmp_path / "out", layout="images")
    assert (len(made.rows), len(left_out(made))) == (1, 1)


def test_an_image_with_a_mask_elsewhere_is_left_out(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw(tmp_path / "in" / "images" / name)
    Image.new("L", (8, 8)).save(draw(tmp_path / "elsewhere.png"))
    (tmp_path / "in" / "masks").mkdir()
    (tmp_path / "in" / "masks" / "a.png").symlink_to(tmp_path / "elsewhere.png")
    made = ingest(tmp_path / "in", tmp_path / "out", layout="images")
    assert [row.mask_path for row in made.rows] == [""]
    assert len(left_out(made)) == 2  # the mask, and the image that it belongs to


def test_a_mask_that_is_drawn_from_elsewhere_counts_as_well(tmp_path: Path) -> None:
    image, part = draw(tmp_path / "in" / "a.png"), draw(tmp_path / "in" / "part.png")
    outside = tmp_path / "in" / "outside.png"
    outside.symlink_to(draw(tmp_path / "elsewhere.png"))
    for drawn in (Joined((part, outside)), FilledOutline(outside)):
        inside, out = without_outward([Found(image, "", "set", drawn=drawn)], tmp_path / "in")
        assert (inside, out) == ([], [outside, image])
    whole = Found(image, "", "set", drawn=Joined((part, part)))
    assert without_outward([whole], tmp_path / "in") == ([whole], [outside])


def test_a_source_of_links_alone_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").symlink_to(draw(tmp_path / "elsewhere" / "a.png"))
    with pytest.raises(DataError, match=r"links to what lies outside of it; copy that there"):
        ingest(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_known_set_laid_out_by_links_is_refused_with_the_way_out(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        draw(tmp_path / "elsewhere" / label / "a.png")
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / label).symlink_to(tmp_path / "elsewhere" / label)
    with pytest.raises(DataError, match="copy that there"):
        ingest(tmp_path / "in", tmp_path / "out")


def test_links_within_the_source_are_followed(tmp_path: Path) -> None:
    (tmp_path / "in" / "b").mkdir(parents=True)
    (tmp_path / "in" / "b" / "b.png").symlink_to(draw(tmp_path / "in" / "a" / "a.png"))
    made = ingest(tmp_path / "in", tmp_path / "out", layout="images")
    assert (len(made.rows), made.report) == (2, ())


@pytest.mark.parametrize("what", ["folder", "file"])
def test_the_source_itself_may_be_a_link(tmp_path: Path, what: str) -> None:
    image = draw(tmp_path / "elsewhere" / "a.png")
    source = tmp_path / "in.png"
    source.symlink_to(image if what == "file" else image.parent)
    made = ingest(source, tmp_path / "out", corpus="set")
    assert (len(made.rows), made.report) == (1, ())


def test_masks_beside_the_source_are_no_links(tmp_path: Path) -> None:
    draw(tmp_path / "set" / "images" / "a.png")
    (tmp_path / "set" / "masks").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "set" / "masks" / "a.png")
    made = ingest(tmp_path / "set" / "images", tmp_path / "out")
    assert (len(made.rows), made.report) == (1, ())
