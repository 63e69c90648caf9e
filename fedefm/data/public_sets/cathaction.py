"""CathAction, segmentation: ``{train,test}/images/imageN.jpg`` with ``labels/maskN.png``.

That is the layout of its web page. The archives that are had today are laid out otherwise: animals
and phantoms as ``endovascular`` (which says what is known of their mask values), humans as
``human_dataset_train/img/<video>_img-*.jpg`` with binary masks ``mask/*_mask.png``, which the
layout ``images`` reads; a pattern tells their videos apart.

Nothing of its publishers that we found (page, code, arXiv 2408.13126) says which mask value is
which device. Values are taken as stored; who fine-tunes names them in their order.
"""

from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.layout import About, Layout, files_in, has, number_of
from fedefm.errors import DataError

NOTE = (
    "CathAction does not say which frames are of one video: frames beside each other look alike, "
    "so only its own split into train and test tells how a model does on what it has not seen"
)


def find(source: Path) -> list[Found]:
    """Raises DataError where a mask has no image of its number, or two have one number."""
    return [
        Found(image, "", "cathaction", mask=mask, split=split, note=NOTE)
        for split in ("train", "test")
        for image, mask in _pairs(source / split)
    ]


def _pairs(folder: Path) -> list[tuple[Path, Path | None]]:
    images = _numbered(folder / "images", "*.jpg")
    masks = _numbered(folder / "labels", "*.png")
    lost = sorted(masks.keys() - images.keys())
    if lost:
        raise DataError(f"{folder}/images has no image of the number {_shown(lost[0])} of a mask")
    return [(images[number], masks.get(number)) for number in sorted(images)]


def _numbered(folder: Path, pattern: str) -> dict[tuple[int, ...], Path]:
    numbered: dict[tuple[int, ...], Path] = {}
    for path in files_in(folder, pattern):
        number = number_of(path)
        if numbered.setdefault(number, path) != path:
            raise DataError(
                f"two files in {folder} have the number {_shown(number)}; masks are paired by it"
            )
    return numbered


def _shown(number: tuple[int, ...]) -> str:
    return ".".join(map(str, number)) or "(none)"


LAYOUT = Layout(
    has("train/images/image*.jpg", "train/labels/mask*.png"),
    find,
    ("labels/*.png",),
    About(
        "25,000 frames of catheters and guidewires, with masks, laid out as on its page; its "
        "archive of animals and phantoms is 'endovascular', that of humans 'images', with "
        "--patient-pattern '([^/]+)_img-'",
        "https://airvlab.github.io/cathaction (request form) and "
        "https://huggingface.co/datasets/airvlab/CathAction",
        "CC BY-NC-SA",
        "values as stored; no publisher says which is catheter and which guidewire: look at the "
        "preview, and name them in their order by finetune --classes",
    ),
)
