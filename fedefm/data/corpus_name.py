"""The name that a user gives to a corpus, which tables, models and reports will show."""

from fedefm.data.manifest import has_control, is_formula
from fedefm.errors import DataError


def refuse_corpus(name: str) -> None:
    """Raises DataError for what is no name but a path or a formula, or cannot be shown."""
    if not name.strip():
        raise DataError(f"--corpus {name!r} is a corpus without a name; give it one")
    if "/" in name or "\\" in name or not name.strip(" ."):
        raise DataError(f"--corpus {name!r} is a path, and a corpus has a name; leave out / and \\")
    if is_formula(name):
        raise DataError(
            f"--corpus {name!r} starts with =, +, - or @, which a spreadsheet would run as a "
            "formula; begin it with a letter"
        )
    if has_control(name):
        raise DataError(f"--corpus {name!r} holds a line break or another control character")
