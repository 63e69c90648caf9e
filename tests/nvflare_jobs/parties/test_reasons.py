"""Others read why a site failed, and nothing of its budget, its rows and its disk."""

import logging
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fedefm import errors
from fedefm.config import RunConfig, SiteConfig, read_site
from fedefm.train.assemble import check_promises
from nvflare_jobs.parties.reasons import (
    ALL,
    LEAST,
    Discretion,
    discretion_of,
    tell_reason,
    without_places,
)
from privacy.accountant import epsilon as epsilon_of
from privacy.calibrate import noise_for
from privacy.ledger import Budget, Dataset
from privacy.ledger.budget import refuse_overspending, totals
from privacy.mechanism import Mechanism
from privacy.policy import promise

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
RELATIVE = st.tuples(st.sampled_from(["../", "./", "~/", "~ann/", "..\\", "\\\\"]), NAMES)


def sharing(delta: float, per_step: int, epsilon: float = 0.0) -> RunConfig:
    dp = {"noise_multiplier": 1.0, "delta": delta, "patients_per_step": per_step}
    return RunConfig.model_validate({
        "federation": {"scenario": "client_server", "algorithm": "fedavg", "local_steps": 1},
        "training": {"momentum": 0},
        "privacy": {"dp": dp, "secagg": {"noise_shares": {"honest": 4}}},
    })  # fmt: skip


def asking(delta: float, per_step: int, epsilon: float) -> RunConfig:
    dp = {"epsilon": epsilon, "delta": delta, "patients_per_step": per_step}
    return RunConfig.model_validate({"privacy": {"dp": dp}})


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


@given(st.sampled_from(KINDS), SENTENCES, RELATIVE.map("".join), st.booleans())
def test_no_place_that_is_written_from_elsewhere_leaves(
    kind, sentence: str, place: str, budget: bool
) -> None:
    told = tell_reason(kind(sentence.format(place)), Discretion(budget=budget))
    assert place not in told


@given(
    entry_patients=st.none() | st.integers(10, 999),
    counted=st.integers(5001, 9999),
    cap=st.sampled_from([None, 0.123, 5.5, 7.77]),
    epsilon=st.floats(0.5, 50),
    deltas=st.tuples(st.floats(1e-7, 0.5), st.floats(1e-7, 0.5)),
    per_step=st.integers(10_001, 20_000),
    budget=st.booleans(),
    run_of=st.sampled_from([sharing, asking]),
)
def test_a_policy_s_refusal_tells_no_count_that_is_not_published_and_no_cap(
    entry_patients, counted, cap, epsilon, deltas, per_step, budget, run_of
) -> None:
    site = SiteConfig.model_validate({
        "datasets": {"pretraining": {"manifest": "m.csv", "patients": entry_patients}},
        "policy": {"epsilon_cap": cap, "delta": deltas[0],
                   "allowed_metrics": ["budget"] if budget else []},
        "ledger": "ledger.sqlite",
    })  # fmt: skip
    run = run_of(deltas[1], per_step, epsilon)
    try:
        promise(site, run, "north", counted)
    except errors.PolicyRefused as error:
        told = tell_reason(error, Discretion(budget=budget))
    else:
        return
    public = {f"{each:g}" for each in (*deltas, epsilon)} | {f"{per_step:,}"}
    if entry_patients:
        public |= {str(entry_patients), f"{entry_patients:,}", f"{1 / entry_patients:.2g}"}
    kept = {str(counted), f"{counted:,}", f"{1 / counted:.2g}"} - public
    figures = set(re.findall(r"[\d.,]*\d(?:e[-+]\d+)?", told))
    assert not figures & kept
    if cap is not None and not budget:
        assert not figures & ({f"{cap:g}"} - public)


@pytest.mark.parametrize(
    "text",
    [
        "policy:\n  epsilon_cap: 3.7\n  epsilon_cap: 3.7\n",  # twice
        "policy: {epsilon_cap: '3,7'}\n",
        "datasets: {pretraining: {manifest: m.csv, patients: 1234.5}}\n",
        "policy: {epsilon_cap: 3.7\n",  # never closed
        "policy: {epsilon_cup: 3.7}\n",
    ],
)
@pytest.mark.parametrize("budget", [True, False])
def test_a_slip_in_the_site_file_shows_nobody_what_is_in_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, budget: bool
) -> None:
    path = tmp_path / "fedefm_site.yaml"
    path.write_text(text)
    with pytest.raises(errors.SiteFileError) as failed:
        read_site(path)
    told = tell_reason(failed.value, Discretion(budget=budget, files=(path,)))
    assert "its owner sees why" in told
    assert not re.search(r"\d", told)
    assert str(failed.value) in caplog.text  # for the owner
    assert str(failed.value) in tell_reason(failed.value, ALL)


@given(st.floats(0.111, 99.9), st.booleans())
def test_a_run_without_privacy_learns_the_cap_only_where_the_budget_may_be_told(
    cap: float, budget: bool
) -> None:
    policy = {"epsilon_cap": cap, "allowed_metrics": ["budget"] if budget else []}
    site = SiteConfig.model_validate({"datasets": {}, "policy": policy})
    with pytest.raises(errors.PolicyRefused) as refused:
        check_promises(site, RunConfig(), "north")
    assert f"{cap:g}" in str(refused.value)
    assert (f"{cap:g}" in tell_reason(refused.value, Discretion(budget=budget))) is budget


@pytest.mark.parametrize("budget", [False, True])
@pytest.mark.parametrize(("cap", "spent", "wanted"), [(0.3, 1, 7), (1.2, 90, 300), (0.77, 300, 1)])
def test_of_a_ledger_nothing_is_told_but_what_the_run_itself_asks_for(
    cap: float, spent: int, wanted: int, budget: bool
) -> None:
    step = Mechanism(1.7, 0.05, 1000, 100)
    account = Budget(cap, 1e-5, "add_or_remove_one")
    try:
        refuse_overspending(Dataset("x", "patient"), {step: spent}, {}, {step: wanted}, account)
    except errors.BudgetExhausted as error:
        told = tell_reason(error, Discretion(budget=budget))
    now = totals({step: spent}, {}, account)
    figures = {f"{now.spent:.3f}", f"{cap:g}"} - {f"{epsilon_of({step: wanted}, 1e-5):.3f}"}
    found = set(re.findall(r"\d[\d.]*\d|\d", told))
    assert bool(figures & found) is budget


def test_what_a_run_has_spent_before_is_not_told() -> None:
    spent = {Mechanism(0.9, 0.37, 37, 37): 50}
    used = f"{epsilon_of(spent, 1e-5):.4g}"
    with pytest.raises(errors.PrivacyError) as refused:
        noise_for(0.1, 1e-5, "add_or_remove_one", 0.37, 37, 37, 10, spent)
    assert used in str(refused.value)
    assert used not in tell_reason(refused.value)


def test_how_large_a_share_of_the_site_a_step_draws_is_not_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("privacy.calibrate._first", lambda *_: None)  # no noise suffices
    monkeypatch.setattr("privacy.calibrate._near", lambda *_: 0)
    with pytest.raises(errors.PrivacyError) as refused:
        noise_for(0.1, 1e-5, "add_or_remove_one", 0.37, 271, 100, 10)
    assert "sampling rate 0.37" in str(refused.value)
    assert "0.37" not in tell_reason(refused.value)


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
