"""The benchmark of rounds over FLARE still runs; its figures here mean nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.flare, pytest.mark.slow, pytest.mark.xdist_group("flare")]
SCRIPT = Path(__file__).parents[1] / "benchmarks" / "flare_round.py"


def test_the_benchmark_of_flare_round(tmp_path: Path) -> None:
    """A process of its own, since the script gives every trainer's fit a fixed length."""
    out = tmp_path / "result.json"
    command = [sys.executable, str(SCRIPT), "--quick", "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert '"ratio"' in json.dumps(json.loads(out.read_text()))
