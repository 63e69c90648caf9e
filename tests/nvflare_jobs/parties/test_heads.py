"""The server remembers the newest ledger entry of each site, over jobs, and hands it back."""

import json

import pytest

from fedefm.errors import ConfigError
from nvflare_jobs.parties.heads import KnownHeads


def head(sequence: int) -> dict:
    return {"sequence": sequence, "hash": f"{sequence:064x}"}


def heads_in(folder) -> KnownHeads:
    return KnownHeads(folder / "state" / "heads.json", folder / "run" / "heads.json")


def test_the_newest_head_outlives_the_job(tmp_path) -> None:
    known = heads_in(tmp_path)
    known.note({"a": {"ledger_head": head(3)}, "b": {"ledger_head": head(7)}})
    known.note({"a": {"ledger_head": head(5)}, "b": {"ledger_head": head(2)}})
    later = heads_in(tmp_path).of(["a", "b", "c"])
    assert later == {"a": head(5), "b": head(7)}
    assert json.loads((tmp_path / "run" / "heads.json").read_text()) == later


@pytest.mark.parametrize(
    "told", [None, "x", {}, {"sequence": "3", "hash": "x"}, {"sequence": 0, "hash": "x"}]
)
def test_what_is_no_head_is_not_remembered(tmp_path, told) -> None:
    known = heads_in(tmp_path)
    known.note({"a": {"ledger_head": told}, "b": {}})
    assert known.of(["a", "b"]) == {}


@pytest.mark.parametrize("text", ["", "[]", '{"a": {"sequence": 1}}'])
def test_a_memory_that_cannot_be_read_is_not_taken_for_an_empty_one(tmp_path, text) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "heads.json").write_text(text)
    with pytest.raises(ConfigError, match="put back a copy"):
        heads_in(tmp_path)
