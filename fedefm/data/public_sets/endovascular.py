"""EIPhantom, CathAnimal, EISimulation and their twin of real X-rays, as FedEFM is fine-tuned on.

``{phantom,animal,sim,real}_{train,test}/{images,masks}``. The mask of ``a.png`` is ``a.npy``
(phantom and animal), ``a_mask.png`` (simulation) or ``a.png`` (real). The archive of animals and
phantoms of CathAction is laid out alike.

Masks of phantoms and animals hold 0, 1 and 2, and no publisher says which device 1 and 2 are. Those
who work with CathAction take 1 for the catheter and 2 for the guidewire: 1 is the thicker part,
towards the hand, with 77 % (animals) and 88 % (phantoms) of a device's pixels by a public count; 2
is the thinner part beyond it. So do we; ``finetune --classes`` can name them the other way.
"""

from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.layout import About, Layout, files_in, has_one_of, if_there
from fedefm.data.readers import is_image_file

CORPORA = {
    "phantom": "eiphantom",
    "animal": "cathanimal",
    "sim": "eisimulation",
    "real": "endovascular-real",
}
TWO_CLASSES = ("sim", "real")  # any value above 0 is the device, as the set's own code reads it
NOTE = (
    "the endovascular set does not say which frames are of one procedure: only its own split into "
    "train and test tells how a model does on what it has not seen"
)


def find(source: Path) -> list[Found]:
    return [
        Found(
            image,
            "",
            corpus,
            mask=_mask(image, folder / "masks"),
            split=split,
            instances=domain in TWO_CLASSES,
            note=NOTE,
        )
        for domain, corpus in CORPORA.items()
        for split in ("train", "test")
        for folder in [source / f"{domain}_{split}"]
        for image in files_in(folder / "images", "*.*")
        if is_image_file(image)
    ]


def _mask(image: Path, masks: Path) -> Path | None:
    stem = image.name.split(".")[0]
    names = (f"{stem}.npy", f"{stem}_mask.png", image.name)
    return next(filter(None, (if_there(masks / name) for name in names)), None)


LAYOUT = Layout(
    has_one_of(*(f"{domain}_{split}/images" for domain in CORPORA for split in ("train", "test"))),
    find,
    ("masks/*",),
    About(
        "frames of catheters and guidewires: phantom, animal, simulation, real; also CathAction's "
        "archive of animals and phantoms",
        "https://vision.aioz.io/f/ec5e0da6f18d4e938b1d/ and https://vision.aioz.io/f/"
        "7b986782043d403bb50e/ (with real); CathAction: see there",
        "none stated for the images; the code beside them is MIT; CathAction: CC BY-NC-SA",
        "phantom and animal: 1 and 2, by their shape catheter and guidewire, which no publisher "
        "says: look at the preview, and turn the names round in finetune --classes if need be; "
        "simulation and real: 1 = device",
    ),
)
