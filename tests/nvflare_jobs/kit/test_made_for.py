"""The component that ends FLARE's parent process where other versions are installed."""

import json
from pathlib import Path

import pytest

from nvflare_jobs.kit.made_for import STOP, MadeFor
from provisioning.made_for import STAMP, stamp


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / STAMP).write_text(json.dumps(stamp("site")))
    monkeypatch.chdir(tmp_path)  # as FLARE's parent processes do
    return tmp_path


def test_the_right_versions_start(kit):
    MadeFor()
    assert not (kit / STOP).exists()


def test_others_end_the_process_and_the_script_that_would_start_it_again(kit):
    (kit / "local" / STAMP).write_text(json.dumps({**stamp("site"), "toolkit": "99.0.0"}))
    with pytest.raises(SystemExit) as ended:
        MadeFor()
    assert "made for fedefm 99.0.0" in str(ended.value.code)
    assert "\n" not in str(ended.value.code)
    assert (kit / STOP).exists()
