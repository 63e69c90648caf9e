from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fedefm.data.fingerprints import hashes, thumbnail
from fedefm.data.fluoroscopy import simulate_frame
from fedefm.data.near_duplicates import Print, near_duplicates

Gray = NDArray[np.float32]


def print_of(gray: Gray) -> Print:
    picture = thumbnail(gray.astype(np.float32))
    return Print(picture, hashes(picture))


def resized(gray: Gray, factor: float) -> Gray:
    size = tuple(round(side * factor) for side in gray.shape[::-1])
    return np.asarray(Image.fromarray(gray).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)


def recompressed(gray: Gray, quality: int) -> Gray:
    file = BytesIO()
    Image.fromarray(np.rint(gray * 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file), np.float32) / 255


COPIES = {
    "half as large": lambda gray: resized(gray, 0.5),
    "larger": lambda gray: resized(gray, 1.7),
    "recompressed": lambda gray: recompressed(gray, 30),
    "brighter": lambda gray: (gray + 0.08).clip(0, 1),
    "other gamma": lambda gray: gray**0.7,
    "cropped all around": lambda gray: gray[3:-3, 3:-3],
    "cropped at a corner": lambda gray: gray[6:, 6:],
    "cropped at one side": lambda gray: gray[:, :-5],
}
DOMAINS = ("phantom", "cardiac", "animal", "low_dose")


@pytest.fixture(scope="module")
def frames() -> list[Gray]:
    """Of different patients."""
    return [simulate_frame(name, 5, k, 160, k).image for name in DOMAINS for k in range(8)]


@pytest.fixture(scope="module")
def prints(frames: list[Gray]) -> list[Print]:
    return [print_of(frame) for frame in frames]


def test_different_frames_are_not_duplicates(prints: list[Print]) -> None:
    assert near_duplicates(prints, range(len(prints))) == []


@pytest.mark.parametrize("change", COPIES)
def test_copies_are_found_among_others(
    frames: list[Gray], prints: list[Print], change: str
) -> None:
    originals = [8 * domain for domain in range(len(DOMAINS))]
    copies = [print_of(COPIES[change](frames[k])) for k in originals]
    found = near_duplicates([*prints, *copies], range(len(prints) + len(copies)))
    assert found == [(k, len(prints) + n) for n, k in enumerate(originals)]


def test_frames_of_one_owner_are_not_compared(prints: list[Print]) -> None:
    twice = [prints[0], prints[0], prints[1]]
    assert near_duplicates(twice, [7, 7, 8]) == []
    assert near_duplicates(twice, [7, 9, 8]) == [(0, 1)]
    assert near_duplicates([], []) == []
    assert near_duplicates(prints[:1], [0]) == []


def test_thousands_are_compared_in_seconds() -> None:
    rng = np.random.default_rng(0)
    signs = rng.choice(np.array([-1, 1], np.int8), (3000, 19, 64))
    picture = np.zeros((64, 64), np.uint8)
    many = [Print(picture, one) for one in signs]
    steps: list[tuple[int, int]] = []
    assert near_duplicates(many, range(3000), lambda *step: steps.append(step)) == []
    assert steps[-1] == (3000, 3000)
