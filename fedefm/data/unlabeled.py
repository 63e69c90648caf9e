"""Images that must not bring labels along, and the check that they do not."""

from fedefm.data.manifest import Manifest
from fedefm.errors import DataError


def refuse_labels(manifest: Manifest, promised_by: str) -> None:
    """Raises DataError where a row of ``manifest`` has a label or a mask.

    ``promised_by`` names the entry that says that there are none.
    """
    labels = sum(bool(row.label) for row in manifest.rows)
    masks = sum(bool(row.mask_path) for row in manifest.rows)
    if labels or masks:
        raise DataError(
            f"{promised_by} is to have no labels, and of the {len(manifest.rows)} rows of the "
            f"manifest in {manifest.folder} {labels} have a label and {masks} a mask; empty the "
            "columns label and mask_path"
        )
