"""How the commands of ``fedefm data`` say what a manifest holds."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from fedefm.data.class_counts import classes_of
from fedefm.data.manifest import Row


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """What is in the rows, for scripts."""
    return {
        "images": len(rows),
        "patients": len({row.patient_id for row in rows}),
        "masks": sum(bool(row.mask_path) for row in rows),
        "corpora": dict(Counter(row.corpus for row in rows)),
        "labels": dict(Counter(name for names in classes_of(rows) for name in names)),
    }


def counts(rows: Sequence[Row]) -> str:
    """The same in one line."""
    found = summary(rows)
    corpora = len(found["corpora"])
    numbers = {"images": found["images"], "patients": found["patients"], "corpora": corpora}
    return ", ".join(f"{name}: {n}" for name, n in (numbers | {"masks": found["masks"]}).items())


def print_json(value: dict[str, Any]) -> None:
    """One object on one line, letters of any script as they are where the output takes them."""
    anything = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(value, ensure_ascii=not anything))
