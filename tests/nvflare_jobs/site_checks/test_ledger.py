"""A ledger is looked at as it will be opened, and nothing is written."""

import shutil
from pathlib import Path

import pytest

from fedefm.config import SiteConfig
from nvflare_jobs.site_checks import ledger as site_checks_ledger
from nvflare_jobs.site_checks.ledger import check_ledger
from privacy.ledger import Ledger


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    (tmp_path / "local").mkdir()
    return tmp_path / "local" / "fedefm_site.yaml"


def look(site_file: Path, site: str = "hosp-a", **settings: object):
    known = {"datasets": {}, "ledger": "ledger.sqlite", **settings}
    return check_ledger(site, site_file, SiteConfig.model_validate(known))


def begin(site_file: Path) -> Path:
    path = site_file.parent / "ledger.sqlite"
    Ledger.open(path, "hosp-a").close()
    return path


def test_none_yet(site_file):
    found, _ = look(site_file)
    assert found.verdict == "ok"
    assert found.said.endswith("will be made by the first private run")
    assert list(site_file.parent.iterdir()) == []


def test_one_that_verifies(site_file):
    begin(site_file)
    found, _ = look(site_file)
    assert (found.verdict, found.said.endswith("verifies: 1 entry")) == ("ok", True)


def test_one_that_is_gone_and_whose_key_is_left(site_file):
    begin(site_file).unlink()
    found, _ = look(site_file)
    assert found.verdict == "problem"
    assert "is gone or empty" in found.said


def test_the_ledger_of_another_site(site_file):
    begin(site_file)
    assert "is the one of site 'hosp-a'" in look(site_file, site="hosp-b")[0].said


def test_a_key_open_to_others(site_file):
    path = begin(site_file)
    path.with_name("ledger.sqlite.key").chmod(0o644)
    assert "chmod 600" in look(site_file)[0].said


def test_a_folder_that_is_missing(site_file):
    found, witness = look(site_file, ledger="not/yet/ledger.sqlite")
    assert found.verdict == "problem"
    assert "does not exist" in found.said
    assert witness.verdict == "warning"


def test_a_witness_on_the_same_disk(site_file):
    _, found = look(site_file)
    assert found.verdict == "warning"
    assert "`ledger_witness`" in found.fix


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second disk")
def test_a_witness_on_another_disk(site_file):
    folder = Path("/dev/shm") / f"fedefm-{site_file.parent.parent.name}"
    folder.mkdir()
    try:
        if folder.stat().st_dev == site_file.parent.stat().st_dev:
            pytest.skip("needs a second disk")
        _, found = look(site_file, ledger_witness=str(folder / "ledger.head"))
        assert (found.verdict, "another disk" in found.said) == ("ok", True)
    finally:
        shutil.rmtree(folder)


def test_a_site_without_one(site_file):
    (found,) = look(site_file, ledger=None)
    assert found.verdict == "warning"
    assert "every private run is refused" in found.said


def test_a_folder_that_may_not_be_written(site_file, monkeypatch):
    monkeypatch.setattr(site_checks_ledger.os, "access", lambda place, mode: False)  # root may
    found, _ = look(site_file)
    assert found.verdict == "problem"
    assert "cannot be written by this account" in found.said
