"""Others read why a site failed, and nothing of its budget, its rows and its disk."""

import logging
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fedefm import errors
from nvflare_jobs.parties.reasons import (
    ALL,
    LEAST,
    Discretion,
    discretion_of,
    tell_reason,
    without_places,
)

FULL = "dataset 'x' may spend epsilon 8: 2.996 is spent, 5.004 left. This run wants 6.999"
BRIEF = "this run wants epsilon 6.999 (4 steps), which would exceed what the cap leaves"
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.FedEFMError)
]
NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=("Cc", "Cs")), min_size=1
)
PLACES = st.lists(NAMES, min_size=1, max_size=4).map(lambda names: "/" + "/".join(names))
SENTENCES = st.sampled_from(
    [
        "ledger {} was restored from an older copy",
        "{} cannot be read",
        "the file '{}' is missing",
        'in "{}", row 3',
        "two problems:\n  - {}\n  - row 4",
        "the manifest ({}) is empty",
        "[Errno 2] no such file: {}: nothing is lost",
        "path={}",
        "see file://{}",
    ]
)


def site_file_at(folder: Path, **settings: object) -> Path:
    path = folder / "fedefm_site.yaml"
    path.write_text(yaml.safe_dump({"datasets": {}, **settings}))
    return path


@given(st.sampled_from(KINDS), SENTENCES, PLACES, st.booleans())
def test_no_place_on_the_disk_leaves(kind, sentence: str, place: str, budget: bool) -> None:
    error = kind(sentence.format(place))
    files = (Path("/srv/kit/local/fedefm_site.yaml"), Path("/var/ledger.sqlite"))
    told = tell_reason(error, Discretion(budget=budget, files=files))
    assert told.startswith(f"{kind.__name__}: ")
    assert place not in told
    assert "own log" in told or "privacy officer" in told


@given(st.sampled_from(KINDS), SENTENCES, st.sampled_from(["", ".key", "-wal"]))
def test_a_known_file_is_named_without_its_folder(kind, sentence: str, ending: str) -> None:
    ledger = Path("/srv/St Mary's kit/local/ledger.sqlite")
    told = tell_reason(kind(sentence.format(f"{ledger}{ending}")), Discretion(files=(ledger,)))
    assert "St Mary" not in told
    assert "/local" not in told


def test_a_ledger_in_doubt_is_told_by_its_name(tmp_path: Path) -> None:
    file = site_file_at(tmp_path, ledger="own/ledger.sqlite")
    error = errors.LedgerCorrupt(f"ledger {tmp_path / 'own/ledger.sqlite'} was put back")
    told = tell_reason(error, discretion_of(file, simulated=False))
    assert told == "LedgerCorrupt: ledger ledger.sqlite was put back"


@pytest.mark.parametrize(
    ("metrics", "told"), [(["seconds"], BRIEF), ([], BRIEF), (["budget"], FULL)]
)
def test_figures_of_the_budget_leave_where_the_site_file_names_them(
    tmp_path: Path, caplog, metrics: list[str], told: str
) -> None:
    file = site_file_at(tmp_path, policy={"allowed_metrics": metrics})
    with caplog.at_level(logging.WARNING):
        reason = tell_reason(errors.BudgetExhausted(FULL, BRIEF), discretion_of(file, False))
    assert reason == f"BudgetExhausted: {told}"
    assert (FULL in caplog.text) == (told == BRIEF)


def test_a_site_file_that_cannot_be_read_allows_no_budget(tmp_path: Path) -> None:
    for text in (None, "policy: [", "\0"):
        file = tmp_path / "fedefm_site.yaml"
        if text is not None:
            file.write_text(text)
        assert not discretion_of(file, simulated=False).budget


def test_rows_and_patients_stay_in_the_log(caplog) -> None:
    told = tell_reason(errors.DataError("row 3: images/jane-doe.png is missing"))
    assert "row 3" not in told
    assert "jane" not in told
    assert "jane-doe.png" in caplog.text
    assert "Doe" not in tell_reason(KeyError("Jane Doe"))


def test_on_one_machine_everything_is_told(tmp_path: Path) -> None:
    assert discretion_of(tmp_path / "none.yaml", simulated=True) == ALL
    for error in (errors.DataError("row 3 of /srv/x"), errors.BudgetExhausted(FULL, BRIEF)):
        assert tell_reason(error, ALL) == f"{type(error).__name__}: {error}"


def test_a_trouble_of_a_sum_names_no_place() -> None:
    said = "hosp-b in phase 'deal', or hosp-c: late"
    assert without_places(said, LEAST) == said
    memory = "the memory of secure sums '/srv/kit/sums.sqlite' cannot be used"
    assert "/srv" not in without_places(memory, LEAST)
    assert without_places(memory, ALL) == memory


def test_our_own_relative_words_are_told() -> None:
    sentence = "write fedefm_site.yaml into the kit's local/ folder, or startup/x.json"
    assert tell_reason(errors.ConfigError(sentence)) == f"ConfigError: {sentence}"
