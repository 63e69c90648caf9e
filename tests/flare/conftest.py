"""Fixtures of the tests that provision and start FLARE for real."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # loopback.py and tiny.py are no packages

from tiny import SITES, write_tiny_sites


@pytest.fixture(scope="session")
def tiny_sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sites folder with a manifest for each of ``tiny.SITES``; nobody may change it."""
    return write_tiny_sites(tmp_path_factory.mktemp("tiny"), SITES)
