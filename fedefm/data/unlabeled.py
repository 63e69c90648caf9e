"""Images that must not bring labels along, and the check that they do not."""

from fedefm.data.manifest import Manifest
from fedefm.errors import DataError


def labels_told(manifest: Manifest) -> str:
    """A sentence on how many rows have a label or a mask; empty where none has."""
    labels = sum(bool(row.label) for row in manifest.rows)
    masks = sum(bool(row.mask_path) for row in manifest.rows)
    if not labels and not masks:
        return ""
    return (
        f"images are to be without labels, and of {len(manifest.rows)} rows {labels} have a label "
        f"and {masks} a mask; empty the columns label and mask_path"
    )


def refuse_labels(manifest: Manifest, whose: str) -> None:
    """Raises DataError where a row of ``manifest`` has a label or a mask."""
    told = labels_told(manifest)
    if told:
        raise DataError(f"{whose}, manifest in {manifest.folder}: {told}")
