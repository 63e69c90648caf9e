"""A corpus has a name that tables can show: no path, no formula, nothing that a terminal obeys."""

from pathlib import Path

import pytest

from fedefm.data.corpus_name import refuse_corpus
from fedefm.data.ingest import ingest
from fedefm.errors import DataError


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../x", "is a path"),
        ("a/b", "is a path"),
        ("a\\b", "is a path"),
        (".. ", "is a path"),
        ("=1+1", "as a formula"),
        ("\uff1d1+1", "as a formula"),  # wide signs
        (" \uff0bcmd", "as a formula"),
        ("\uff20SUM(1)", "as a formula"),
        ("", "without a name"),
        ("a\x1b[2J", "control character"),
        ("\u202egnp", "turns or hides text"),
        ("a\u2066b", "turns or hides text"),
        ("cat\u200b", "turns or hides text"),
        ("a\U000e0041", "turns or hides text"),
    ],
)
def test_what_is_no_name_is_refused_before_the_source_is_looked_at(
    tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        ingest(tmp_path / "absent", tmp_path / "out", corpus=name)
    assert len(str(caught.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["Größe 図", "angio 2024", "CT-1", "v1.2", "-7", "Ångström", "a=b", "می\u200cخواهم"]
)
def test_names_of_any_language_are_taken(name: str) -> None:
    refuse_corpus(name)
