"""Names of corpora and labels: tables, models and reports show them, and spreadsheets open them."""

from fedefm.data.manifest import has_control, is_formula
from fedefm.errors import DataError


def fault_of(name: str) -> str:
    """Why a table cannot have this name; empty if it can."""
    if is_formula(name):
        return "starts with =, +, - or @, which a spreadsheet would run as a formula"
    if has_control(name):
        return "holds a line break, another control character, or one that turns or hides text"
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return "is not UTF-8"
    return ""


def refuse_corpus(name: str) -> None:
    """Raises DataError for what a user has typed that is no name but a path, or has a fault."""
    if not name.strip():
        raise DataError(f"--corpus {name!r} is a corpus without a name; give it one")
    if "/" in name or "\\" in name or not name.strip(" ."):
        raise DataError(f"--corpus {name!r} is a path, and a corpus has a name; leave out / and \\")
    if fault := fault_of(name):
        raise DataError(f"--corpus {name!r} {fault}; choose another name")
