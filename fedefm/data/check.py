"""Everything that can be wrong with the images of a manifest, found by looking at each of them."""


from fedefm.data.dataset import Progress, read_row_mask, size_mismatch
from fedefm.data.digests import sha256_of
from fedefm.data.manifest import Manifest, Row, path_verdicts, structure_problems, where
from fedefm.data.readers import read_image
from fedefm.errors import DataError


def check_manifest(
    manifest: Manifest, hashes: bool = False, progress: Progress | None = None
) -> list[str]:
    """All problems of a manifest, each naming row and path; an empty list if there are none.

    Every frame and mask is decoded. With ``hashes``, files are compared with their ``sha256``, too.
    Nothing outside the manifest's folder is opened.
    """
    problems = structure_problems(manifest)
    usable = {path for path, verdict in path_verdicts(manifest).items() if not verdict}
    order = sorted(range(len(manifest.rows)), key=lambda i: _file_order(manifest.rows[i]))
    for done, position in enumerate(order, start=1):
        fault = _image_fault(manifest, position, usable)
        if fault:
            problems.append(f"{where(position, manifest.rows[position])}: {fault}")
        if progress:
            progress(done, len(order))
    return problems + (_changed_files(manifest, usable) if hashes else [])


def _file_order(row: Row) -> tuple[str, int]:
    return row.path, row.frame


def _image_fault(manifest: Manifest, position: int, usable: set[str]) -> str:
    """What is wrong with the frame or mask of a row, or an empty string."""
    row = manifest.rows[position]
    if not {row.path, row.mask_path or row.path} <= usable:
        return ""  # a problem of the structure, named already
    try:
        image = read_image(manifest.folder / row.path, row.frame)
        if not row.mask_path:
            return ""
        mask = read_row_mask(manifest, position)
    except DataError as error:
        return str(error).replace(f"{manifest.folder}/", "").removeprefix(f"{row.path} ")
    return "" if mask.shape == image.shape else size_mismatch(image.shape, mask.shape)


def _changed_files(manifest: Manifest, usable: set[str]) -> list[str]:
    problems = []
    seen: dict[str, str] = {}
    for position, row in enumerate(manifest.rows):
        if not row.sha256 or row.path not in usable:
            continue
        if row.path not in seen:
            seen[row.path] = sha256_of(manifest.folder / row.path)
        if seen[row.path] != row.sha256:
            problems.append(
                f"{where(position, row)}: the file has changed since its sha256 was taken"
            )
    return problems
