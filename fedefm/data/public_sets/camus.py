"""CAMUS: echocardiograms, ``patientNNNN/patientNNNN_{2CH,4CH}_{ED,ES}[_gt].nii.gz``."""

from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.layout import About, Layout, files_in, has, if_there, unpacked
from fedefm.errors import DataError

SPLIT_FILES = {"training": "train", "validation": "validation", "testing": "test"}
LARGEST_LIST = 1 << 20  # bytes; 500 names take 6,000


def find(source: Path) -> list[Found]:
    """Frames at end diastole and end systole, split as ``database_split`` says, if it is there."""
    splits = _splits(source)
    root = unpacked(source, "database_nifti")
    return [
        Found(
            image,
            f"camus/{folder.name}",
            "camus",
            mask=if_there(image.with_name(image.name.replace(".nii", "_gt.nii"))),
            split=splits.get(folder.name, ""),
        )
        for folder in files_in(root, "patient[0-9]*")
        for image in files_in(folder, "patient*_[24]CH_E[DS].nii*")
    ]


def _splits(source: Path) -> dict[str, str]:
    """The split of each patient. Raises DataError where one is in two."""
    splits: dict[str, str] = {}
    for name, split in SPLIT_FILES.items():
        table = source / "database_split" / f"subgroup_{name}.txt"
        for patient in _lines(table) if table.is_file() else []:
            if splits.setdefault(patient, split) != split:
                raise DataError(f"{table} lists a patient who is in another split, too")
    return splits


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > LARGEST_LIST:
            raise DataError(f"{path} is too large to be a list of patients")
        return path.read_text("utf-8").split()
    except UnicodeDecodeError:
        raise DataError(f"{path} is not text; it must list one patient a line") from None


LAYOUT = Layout(
    lambda source: has("patient[0-9]*/patient*_[24]CH_E[DS].nii*")(
        unpacked(source, "database_nifti")
    ),
    find,
    ("patient*_gt.nii*", "patient*_half_sequence*.nii*"),
    About(
        "echocardiograms of 500 patients, two views at end diastole and end systole",
        "https://www.creatis.insa-lyon.fr/Challenge/camus/",
        "CC BY-NC-SA",
        "1 = left ventricle, 2 = its muscle, 3 = left atrium",
    ),
)
