"""``fedefm demo --again`` replaces a demo, finished or not, and nothing else."""

import pytest

from fedefm.errors import ConfigError
from nvflare_jobs.commands.demo import _make_room


def test_a_demo_that_was_killed_at_once_can_be_replaced(tmp_path):
    out = tmp_path / "demo"
    _make_room(out, again=False)
    (out / "data").mkdir()
    _make_room(out, again=True)
    assert not (out / "data").exists()


def test_a_folder_with_something_else_is_never_removed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "events.jsonl").touch()
    with pytest.raises(ConfigError, match="not the folder of an earlier demo"):
        _make_room(tmp_path, again=True)
    assert (tmp_path / "run" / "events.jsonl").exists()


def test_an_earlier_demo_stays_unless_it_may_go(tmp_path):
    _make_room(tmp_path / "demo", again=False)
    with pytest.raises(ConfigError, match="--again"):
        _make_room(tmp_path / "demo", again=False)
