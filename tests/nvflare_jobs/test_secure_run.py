"""``privacy: {secagg: ...}`` of a run file, from the command line to the sums, in one process."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from fedefm.config import RunConfig, SecaggConfig, dump
from fedefm.errors import ConfigError, PolicyRefused
from fedefm.events import read_events
from fedefm.report.run_report import write_report
from fedefm.train.exchange import Steps
from fedefm.train.message import Header
from fedefm.train.rounds import fedavg_server_round
from fedefm.train.run import run_in_process
from fedefm.train.simulate import Faults
from nvflare_jobs import cli
from nvflare_jobs.protect import ByLedger
from nvflare_jobs.secure import BySecureSums
from privacy.secagg.sum import ring_for

FEDAVG = {"scenario": "client_server", "algorithm": "fedavg"}
GOSSIP = {"algorithm": "gossip", "schedule": "grid"}
NEIGHBORS = {"algorithm": "gossip", "schedule": "neighbors"}
SWAP = {"schedule": "grid"}
AGGREGATED = {"update": "mixed", "expert": "aggregated", "schedule": "neighbors"}
ALGORITHMS = {
    "fedavg": FEDAVG,
    "gossip": GOSSIP,
    "swap": SWAP,
    "complete": {"algorithm": "gossip", "schedule": "neighbors", "topology": "complete"},
    "aggregated": {**AGGREGATED, "topology": "complete"},
}
RELEASED = {"swap": ["weights", "experts"], "aggregated": ["weights"]}
LARGEST = 20  # images; a hospital has 12
CLOSE = 2e-4  # of weights after some rounds: every sum rounds, and training carries it on


@pytest.fixture(scope="session")
def seven(hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven hospitals, from a to g; nobody may change them."""
    return several("abcdefg", hospitals, tmp_path_factory.mktemp("seven"))


@pytest.fixture(scope="session")
def nine(hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine hospitals, from a to i; nobody may change them."""
    return several("abcdefghi", hospitals, tmp_path_factory.mktemp("nine"))


def several(letters: str, hospitals: Path, folder: Path) -> Path:
    for k, letter in enumerate(letters):
        like = "abc"[k % 3]
        place = Path(shutil.copytree(hospitals / f"hosp-{like}", folder / f"hosp-{letter}"))
        manifest = place / "manifest.csv"
        rows = manifest.read_text().replace(f"hosp-{like}-", f"hosp-{letter}-")
        manifest.write_text(rows)
    return folder


def secure(run: RunConfig, **secagg: Any) -> RunConfig:
    settings = {"largest_site": LARGEST, **secagg}
    return RunConfig.model_validate({**run.model_dump(), "privacy": {"secagg": settings}})


def play(
    run: RunConfig,
    sites: Path,
    out: Path,
    faults: Faults | None = None,
    resume: bool = False,
    protect: Any = None,
    remember: bool = False,
) -> dict[str, Any]:
    """Run as the command line does, but for memories on disk where ``remember``; the result."""
    memories = out / "state" / "secure_sums" if remember else None
    hide = None if run.privacy.secagg is None else BySecureSums(memories)
    run_in_process(run, sites, out, resume, (), faults, None, protect, hide)
    return json.loads((out / "result.json").read_text())


def model_of(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def largest_difference(one: Path, other: Path) -> float:
    a, b = model_of(one), model_of(other)
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def events_of(out: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(out / "events.jsonl") if event["event"] == kind]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_learns_the_same_with_secure_sums_as_with_plain_ones(
    make_run: Any, seven: Path, tmp_path: Path, algorithm: str
) -> None:
    same = {**GOSSIP, "cohort": 7} if algorithm == "complete" else ALGORITHMS[algorithm]
    plain = play(make_run(**same), seven, tmp_path / "plain")
    hidden = play(secure(make_run(**ALGORITHMS[algorithm])), seven, tmp_path / "secure")

    assert largest_difference(tmp_path / "plain", tmp_path / "secure") < CLOSE
    assert largest_difference(tmp_path / "plain", tmp_path / "secure") > 0  # it was rounded
    accuracy = hidden["metrics"]["global_accuracy"]
    assert accuracy == pytest.approx(plain["metrics"]["global_accuracy"], abs=1e-6)
    assert hidden["protection"]["secure_sums"] is True
    assert plain["protection"]["secure_sums"] is False
    assert hidden["participation"] == plain["participation"]
    assert hidden["protection"]["single_releases"] == RELEASED.get(algorithm, [])
    assert not events_of(tmp_path / "secure", "rejected")


def test_one_round_is_off_by_no_more_than_its_quanta(
    make_run: Any, seven: Path, tmp_path: Path
) -> None:
    """Each part is moved by less than a quantum; the mean divides by the sum of the shares."""
    run = make_run(**FEDAVG, rounds=1)
    for folder, settings in (
        ("plain", run),
        ("secure", secure(run)),
        ("coarse", secure(run, value_bits=12)),
    ):
        play(settings, seven, tmp_path / folder)
    shares = 7 * 12 / LARGEST
    for folder, bits in (("secure", None), ("coarse", 12)):
        ring = ring_for(SecaggConfig(value_bits=bits), 7)
        allowed = 7 * ring.quantum * (1 + 1) / shares  # of the numerator, and of the denominator
        assert 0 < largest_difference(tmp_path / "plain", tmp_path / folder) < allowed


def test_without_expert_rounds_nothing_is_released_singly(
    make_run: Any, seven: Path, tmp_path: Path
) -> None:
    result = play(secure(make_run(**SWAP, expert_every=4)), seven, tmp_path / "run")
    assert result["protection"]["single_releases"] == []


def test_no_number_of_a_single_site_is_told(make_run: Any, seven: Path, tmp_path: Path) -> None:
    play(secure(make_run(**SWAP)), seven, tmp_path / "run")
    told = list(read_events(tmp_path / "run" / "events.jsonl"))
    assert not {"corpora", "similarity"} & {event["event"] for event in told}
    assert {event["loss"] for event in told if event["event"] == "round"} == {None}
    assert not [e for e in told if e["event"] == "evaluated" and e["site"] != "global"]
    metrics = [event for event in told if event["event"] == "metrics"]
    assert {event["sites"] for event in metrics} == {7}
    assert all(event["images"] == 42 for event in metrics)
    card = (tmp_path / "run" / "model_card.md").read_text()
    assert "hosp-" not in card
    write_report(tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Single models beside the secure sums" in page


# Sites that fall silent in the middle of a sum.


def silent(*names: str, phase: str, round_index: int = 0) -> Faults:
    """``names`` say nothing from ``phase`` of a secure sum on, in one round."""
    phases = ("advertise", "share", "masked", "consent", "unmask")
    gone = {f"sum/{later}" for later in phases[phases.index(phase) :]}
    return Faults(lose=lambda h: h.sender in names and h.round == round_index and h.phase in gone)


@pytest.fixture(scope="module")
def plain_without(
    make_run: Any, seven: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[tuple[str, ...]], Path]:
    """The same run with plain sums, in which the parts of some are lost in the first round."""
    done: dict[tuple[str, ...], Path] = {}

    def run_without(names: tuple[str, ...]) -> Path:
        if names not in done:
            done[names] = tmp_path_factory.mktemp("plain") / "run"
            lost = Faults(lose=lambda h: h.sender in names and h.round == 0 and h.phase == "sum")
            play(make_run(**FEDAVG, rounds=2), seven, done[names], lost)
        return done[names]

    return run_without


@pytest.mark.parametrize("names", [("hosp-c",), ("hosp-c", "hosp-f")])
@pytest.mark.parametrize("phase", ["advertise", "share", "masked", "consent", "unmask"])
def test_fedavg_goes_on_with_the_exact_mean_of_those_who_remained(
    make_run: Any,
    seven: Path,
    tmp_path: Path,
    plain_without: Callable[[tuple[str, ...]], Path],
    phase: str,
    names: tuple[str, ...],
) -> None:
    """Whoever is silent before its masked vector is there is left out; afterwards it counts."""
    run = make_run(**FEDAVG, rounds=2)
    left_out = names if phase in ("advertise", "share", "masked") else ()
    result = play(secure(run), seven, tmp_path / "secure", silent(*names, phase=phase))

    assert largest_difference(plain_without(left_out), tmp_path / "secure") < CLOSE
    troubles = [event["reason"] for event in events_of(tmp_path / "secure", "rejected")]
    for name in names:
        assert any(name in reason and phase in reason for reason in troubles)
        assert result["participation"][name] == [1]  # unheard in the first round, back in the next


@pytest.mark.parametrize("names", [("hosp-c",), ("hosp-c", "hosp-f")])
def test_fedavg_goes_on_without_sites_that_crash(
    make_run: Any, seven: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    crash = Faults(crash=lambda site, round_index: site in names and round_index == 1)
    run = make_run(**FEDAVG)
    play(run, seven, tmp_path / "plain", crash)
    result = play(secure(run), seven, tmp_path / "secure", crash)
    assert largest_difference(tmp_path / "plain", tmp_path / "secure") < CLOSE
    assert all(result["participation"][name] == [0, 2] for name in names)


def test_with_too_few_left_there_is_no_sum_and_the_reason_is_told(
    make_run: Any, seven: Path, tmp_path: Path
) -> None:
    """5 of 7 must help: a receiver and one member with it could open two sums with 4."""
    run = secure(make_run(**FEDAVG, quorum=0.1))
    gone = ("hosp-b", "hosp-d", "hosp-f")
    play(run, seven, tmp_path / "run", silent(*gone, phase="masked"))
    reasons = [event["reason"] for event in events_of(tmp_path / "run", "rejected")]
    assert any("4 members are left" in reason and "5 of 7" in reason for reason in reasons)


@pytest.mark.parametrize("algorithm", ["gossip", "swap"])
@pytest.mark.parametrize("phase", ["share", "masked", "unmask"])
def test_a_grid_goes_on_where_members_of_its_cohorts_fall_silent(
    make_run: Any, seven: Path, tmp_path: Path, algorithm: str, phase: str
) -> None:
    run = secure(make_run(**ALGORITHMS[algorithm], cohort=7))
    faults = silent("hosp-c", "hosp-f", phase=phase, round_index=1 if algorithm == "gossip" else 0)
    result = play(run, seven, tmp_path / "run", faults)
    assert result["rounds"] == 3
    reasons = [event["reason"] for event in events_of(tmp_path / "run", "rejected")]
    assert any("hosp-c" in reason and phase in reason for reason in reasons)


def test_the_last_sum_and_the_metrics_survive_a_site_that_falls_silent(
    make_run: Any, seven: Path, tmp_path: Path
) -> None:
    """And everybody else still gets the global model, however long the server waited."""
    run = secure(make_run(**GOSSIP))
    faults = silent("hosp-e", phase="unmask", round_index=3)
    result = play(run, seven, tmp_path / "run", faults)
    (metrics,) = [
        e
        for e in events_of(tmp_path / "run", "metrics")
        if (e["model"], e["split"]) == ("global", "test")
    ]
    assert metrics["images"] >= 6 * 6
    assert result["metrics"]["global_accuracy"] == metrics["accuracy"]


# A run that is killed and resumed.


def attempts(out: Path, site: str) -> dict[str, list[int]]:
    """Of each sum that ``site`` gave a masked vector to: which attempts it used."""
    with sqlite3.connect(out / "state" / "secure_sums" / f"{site}.sqlite") as book:
        used: dict[str, list[int]] = {}
        for context, attempt in book.execute("SELECT context, attempt FROM attempts"):
            used.setdefault(context, []).append(attempt)
    return used


@pytest.mark.parametrize("phase", ["sum/advertise", "sum/masked", "sum/unmask", "metrics/unmask"])
def test_a_run_killed_in_a_sum_takes_it_again_under_a_new_attempt(
    make_run: Any, seven: Path, tmp_path: Path, phase: str
) -> None:
    run = secure(make_run(**FEDAVG))
    play(run, seven, tmp_path / "whole")

    def die(header: Header) -> bool:
        if (header.round, header.phase, header.sender) == (1, phase, "hosp-d"):
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        play(run, seven, tmp_path / "run", Faults(lose=die), remember=True)
    play(run, seven, tmp_path / "run", resume=True, remember=True)

    assert largest_difference(tmp_path / "whole", tmp_path / "run") < CLOSE
    again = [
        used for context, used in attempts(tmp_path / "run", "hosp-d").items() if len(used) > 1
    ]
    interrupted = phase != "sum/advertise"  # before anything masked had left, no attempt was used
    assert bool(again) == interrupted
    assert all(sorted(used) == [1, 2] for used in again)


def test_every_site_keeps_a_memory_of_its_own(make_run: Any, seven: Path, tmp_path: Path) -> None:
    play(secure(make_run(**FEDAVG)), seven, tmp_path / "run", remember=True)
    for letter in "abcdefg":
        used = attempts(tmp_path / "run", f"hosp-{letter}")
        assert all(numbers == [1] for numbers in used.values())
        assert len([context for context in used if '"sum"' in context]) == 3


# What is refused before an image is read, and leaves nothing behind.


@pytest.fixture
def unreadable(nine: Path, tmp_path: Path) -> Path:
    """Nine hospitals with damaged images."""
    folder = Path(shutil.copytree(nine, tmp_path / "sites"))
    for image in folder.glob("*/*.png"):
        image.write_bytes(b"no image")
    return folder


def demand(sites: Path, letter: str, **policy: Any) -> None:
    path = sites / f"hosp-{letter}" / "fedefm_site.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "policy": policy}))


def test_two_sites_are_told_that_a_third_must_take_part(
    make_run: Any, hospitals: Path, tmp_path: Path
) -> None:
    """Neither a shorter row nor a lower demand could hide one of two from the other."""
    two = several("ab", hospitals, tmp_path / "sites")
    for federation in (FEDAVG, GOSSIP, {**GOSSIP, "cohort": 2}, {**SWAP, "cohort": 2}):
        with pytest.raises((ConfigError, PolicyRefused), match="3 sites must take part") as refused:
            play(secure(make_run(**federation)), two, tmp_path / "run")
        assert "schedule" not in str(refused.value)
        assert "demand less" not in str(refused.value)
        assert "federation.cohort" not in str(refused.value)


def test_a_site_larger_than_the_run_allows_for_is_named_before_anything_is_written(
    make_run: Any, unreadable: Path, tmp_path: Path
) -> None:
    run = secure(make_run(**FEDAVG), largest_site=11)
    with pytest.raises(ConfigError, match=r"site 'hosp-a' .*largest_site, 11, ") as refused:
        play(run, unreadable, tmp_path / "run")
    assert "12" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_of_a_private_site_its_patients_are_held_against_the_largest(
    make_run: Any, unreadable: Path, tmp_path: Path
) -> None:
    for letter in "abcdefghi":
        path = unreadable / f"hosp-{letter}" / "fedefm_site.yaml"
        settings = yaml.safe_load(path.read_text())
        labels = {"labels": ["bars", "disk", "square"]}
        settings["datasets"]["pretraining"] |= labels
        path.write_text(yaml.safe_dump({**settings, "ledger": "l.sqlite"}))
    private = secure(make_run(**FEDAVG), largest_site=1).model_dump()
    private["privacy"]["dp"] = {"epsilon": 6.0, "patients_per_step": 6, "gradients": "loop"}
    run = RunConfig.model_validate(private)
    with pytest.raises(ConfigError, match=r"site 'hosp-a' .*largest_site, 1, "):
        play(run, unreadable, tmp_path / "run", protect=ByLedger())
    assert not (tmp_path / "run").exists()


def test_secure_sums_that_nobody_can_make_are_refused(
    make_run: Any, unreadable: Path, tmp_path: Path
) -> None:
    with pytest.raises(PolicyRefused, match=r"privacy.secagg is set.*`fedefm run`"):
        run_in_process(secure(make_run(**FEDAVG)), unreadable, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("federation", "secagg", "policy", "words"),
    [
        (FEDAVG, {}, {"min_cohort": 9}, "hosp-e would be hidden among 8 others"),
        (FEDAVG, {}, {"min_cohort": 9}, "; at least 10 sites .* 9, or the site file must"),
        (GOSSIP, {}, {"min_cohort": 3}, "hosp-e would .* 2 others.*cohort to 4 or more, or the"),
        (GOSSIP, {}, {"min_cohort": 10}, "2 others.*; at least 11 sites must take part"),
        (
            AGGREGATED,
            {},
            {"min_cohort": 3},
            "1 other, .*; link each site with 4 others or more .*y\\)$",
        ),
        (
            AGGREGATED,
            {},
            {"min_cohort": 8},
            "1 other, .*; at least 10 sites must take part, and there are 9$",
        ),
        (
            {**SWAP, "cohort": 9},
            {},
            {"min_cohort": 3},
            "weights and experts to single sites.*privacy.dp",
        ),
        (FEDAVG, {}, {"colluders": 2}, "'hosp-e' reckons with 2 colluding .* and the run with 1"),
        (FEDAVG, {"colluders": 0}, {}, "reckons with 1 colluding .* and the run with 0"),
        (FEDAVG, {}, {"min_cohort": 3, "require_dp": True}, "requires differential privacy"),
        (NEIGHBORS, {}, {"min_cohort": 3}, "hosp-e would be hidden among 2 others"),
        (NEIGHBORS, {"colluders": 2}, {}, "would not hide .*hosp-.* could solve for"),
        (GOSSIP, {"colluders": 2}, {}, "would not hide .*hosp-.* could solve for .*cohort to 4"),
    ],
)
def test_sums_that_would_not_hide_a_site_as_it_demands_are_refused(
    make_run: Any,
    unreadable: Path,
    tmp_path: Path,
    federation: dict[str, Any],
    secagg: dict[str, Any],
    policy: dict[str, Any],
    words: str,
) -> None:
    demand(unreadable, "e", **policy)
    with pytest.raises(PolicyRefused, match=f"(?s){words}"):
        play(secure(make_run(**federation), **secagg), unreadable, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("secagg", "words"),
    [({"value_bits": 30}, "9 parties"), ({"value_bits": 23, "compact": True}, "compact")],
)
def test_sums_that_could_overflow_are_refused(
    make_run: Any, unreadable: Path, tmp_path: Path, secagg: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        play(secure(make_run(**FEDAVG), **secagg), unreadable, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_line_says_so_in_one_sentence(
    make_run: Any, unreadable: Path, tmp_path: Path
) -> None:
    demand(unreadable, "e", min_cohort=9)
    (tmp_path / "run.yaml").write_text(dump(secure(make_run(**FEDAVG))))
    command = [sys.executable, "-m", cli.__name__, "run", str(tmp_path / "run.yaml")]
    command += ["--sites", str(unreadable), "--out", str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "demands 9 (policy.min_cohort)" in ended.stderr
    assert not (tmp_path / "out").exists()


# Together with the rest.


def test_a_demand_that_is_kept_is_no_obstacle(make_run: Any, seven: Path, tmp_path: Path) -> None:
    sites = Path(shutil.copytree(seven, tmp_path / "sites"))
    demand(sites, "e", min_cohort=6)
    result = play(secure(make_run(**FEDAVG)), sites, tmp_path / "run")
    assert all(turns == [0, 1, 2] for turns in result["participation"].values())


def test_a_larger_demand_of_one_site_costs_the_sum_of_those_who_remain(
    make_run: Any, seven: Path, tmp_path: Path
) -> None:
    """Planned are enough, but one falls silent: who wants six others then gives nothing more."""
    sites = Path(shutil.copytree(seven, tmp_path / "sites"))
    demand(sites, "e", min_cohort=6)
    faults = silent("hosp-c", phase="share")
    result = play(secure(make_run(**FEDAVG)), sites, tmp_path / "run", faults)
    reasons = [
        e["reason"] for e in events_of(tmp_path / "run", "rejected") if e["site"] == "hosp-e"
    ]
    assert any("min_cohort demands 6" in reason for reason in reasons)
    assert result["participation"]["hosp-e"] == [1, 2]


def test_a_run_can_be_private_and_have_secure_sums(
    make_run: Any, seven: Path, tmp_path: Path
) -> None:
    sites = Path(shutil.copytree(seven, tmp_path / "sites"))
    for letter in "abcdefg":
        path = sites / f"hosp-{letter}" / "fedefm_site.yaml"
        policy = {"min_cohort": 6, "require_dp": True}
        settings = {**yaml.safe_load(path.read_text()), "ledger": "l.sqlite", "policy": policy}
        path.write_text(yaml.safe_dump(settings))
    private = secure(make_run(**SWAP, cohort=7)).model_dump()
    private["privacy"]["dp"] = {"epsilon": 6.0, "patients_per_step": 6, "gradients": "loop"}
    run = RunConfig.model_validate(private)
    result = play(run, sites, tmp_path / "run", protect=ByLedger())
    assert result["protection"]["differential_privacy"] is True
    assert result["protection"]["secure_sums"] is True
    assert result["protection"]["single_releases"] == ["weights", "experts"]


def test_a_server_that_hands_out_another_model_does_not_get_that_sites_part(
    make_run: Any, seven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Model inconsistency (Pasquini et al., CCS 2022): the sum does not open over such a site."""

    def inconsistent(server: Any, round_index: int) -> Steps[Any]:
        return _altered(fedavg_server_round(server, round_index), "hosp-b")

    monkeypatch.setattr("fedefm.train.rounds.fedavg_server_round", inconsistent)
    result = play(secure(make_run(**FEDAVG, rounds=1)), seven, tmp_path / "run")
    reasons = [event["reason"] for event in events_of(tmp_path / "run", "rejected")]
    assert any("hosp-b" in reason and "advertise" in reason for reason in reasons)
    assert result["participation"]["hosp-b"] == []


def _altered(honest: Steps[Any], victim: str) -> Iterator[Any]:
    """What the server does, but ``victim`` is handed other weights."""
    exchange = next(honest)
    other = {name: value + 1 for name, value in exchange.outgoing[victim].items()}
    exchange.outgoing[victim] = other  # type: ignore[index]
    answer: Callable[[Any], Any] = honest.send
    while True:
        inbox = yield exchange
        try:
            exchange = answer(inbox)
        except StopIteration as finished:
            return finished.value
