"""``import fedefm.model`` makes torchvision importable, seen in two fresh interpreters."""

import json
import subprocess
import sys

import pytest

TORCHVISION_FIRST = """
import json
try:
    import torchvision
    broken = False
except RuntimeError:
    broken = True
import fedefm.model, torchvision.models
print(json.dumps(broken))
"""
OURS_FIRST = """
import json, sys
import fedefm.model.foundation, fedefm.model.segmenter
from fedefm.model.torchvision_fix import _declared, repair_torchvision
loaded = list(sys.modules)
again = repair_torchvision()
import torchvision.models
print(json.dumps({"declared": len(_declared), "again": again, "loaded": loaded}))
"""


def output_of(code: str):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def broken() -> bool:
    """Whether this installation needs the repair; a first failed import must not spoil a second."""
    return output_of(TORCHVISION_FIRST)


@pytest.fixture(scope="module")
def ours_first():
    return output_of(OURS_FIRST)


def test_torchvision_is_touched_once_and_only_where_its_import_fails(broken, ours_first):
    assert ours_first["declared"] == int(broken)
    assert not ours_first["again"]


def test_our_package_imports_none_of_the_slow_ones(ours_first):
    slow = {"torchvision", "timm", "segmentation_models_pytorch"}
    assert not slow & set(ours_first["loaded"])
