"""A site holds its ledger to the entry that the server remembers, whichever process it is."""

from pathlib import Path

import pytest
import yaml

from fedefm.config import RunConfig
from fedefm.errors import LedgerCorrupt
from nvflare_jobs.parties.begun import BEGUN
from nvflare_jobs.parties.site_work import SiteWork
from nvflare_jobs.parties.terms import terms_for

SITES = ("hosp-a", "hosp-b", "hosp-c")


@pytest.fixture
def process_of(hospitals: Path, tmp_path: Path, tiny_run):
    """``process_of(job)``: the work of a new process, in a private run."""
    manifest = str(hospitals / "hosp-a" / "manifest.csv")
    settings = {"datasets": {"pretraining": {"manifest": manifest}}, "ledger": "ledger.sqlite"}
    file = tmp_path / "fedefm_site.yaml"
    file.write_text(yaml.safe_dump(settings))
    dp = {"noise_multiplier": 1.0, "patients_per_step": 4}
    run = RunConfig.model_validate({**tiny_run.model_dump(), "privacy": {"dp": dp}})
    terms, state = terms_for(run, SITES), tmp_path / "state"
    return lambda job: SiteWork("hosp-a", terms, file, state, False, True, job)


@pytest.fixture
def put_back(process_of, tmp_path):
    """A job was ready, its process died, and the ledger is as it was before: the next process."""
    before = process_of("before")
    head = before.ready()["ledger_head"]
    before.close()
    first = process_of("job")
    first.ready(head)
    first._budget.close()
    for path in tmp_path.glob("ledger.sqlite*"):  # the witness too, so the site notices nothing
        path.unlink()
    return process_of("job")


@pytest.mark.parametrize("task", ["start", "dismiss"])
def test_who_takes_over_before_the_first_round_asks_for_it(put_back, task) -> None:
    with pytest.raises(LedgerCorrupt, match="the server remembers"):
        put_back.start(0) if task == "start" else put_back.dismiss()


def test_to_be_ready_again_does_not_make_it_forgotten(put_back) -> None:
    with pytest.raises(LedgerCorrupt, match="the server remembers"):
        put_back.ready()


def test_one_that_the_ledger_lacks_is_refused_and_not_remembered(process_of, tmp_path) -> None:
    with pytest.raises(LedgerCorrupt, match="the server remembers"):
        process_of("job").ready({"sequence": 99, "hash": "ab" * 32})
    assert not (tmp_path / "state" / BEGUN).exists()
    again = process_of("job")
    again.ready()
    again.close()


def test_who_takes_over_from_a_ready_process_begins(process_of) -> None:
    first = process_of("job")
    head = first.ready()["ledger_head"]
    first._budget.close()
    second = process_of("job")
    second.ready(head)
    second.start(0)
    second.close()
