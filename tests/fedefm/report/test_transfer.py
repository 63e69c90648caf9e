"""The section on two starts: only where somebody told, and claiming no more than it may."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedefm.errors import ConfigError
from fedefm.report.run_report import write_report
from fedefm.report.transfer import over_seeds, transfer_shown
from fedefm.report.transfer_file import read_transfer, take_transfer

Maker = Callable[..., Any]
DOMAINS = ("joints", "retina", "heads", "nuclei", "chest", "brain", "skin")


def told(gain: float = 0.02, seeds: int = 3, **changes: Any) -> dict[str, Any]:
    scores = [
        {"way": way, "domain": domain, "seed": seed, "first": first, "second": first + gain + small}
        for way in ("linear probe", "fine-tuning")
        for k, domain in enumerate(DOMAINS)
        for seed in range(seeds)
        for first, small in [(0.5 + k / 100, (seed + seeds * k) / 10_000)]
    ]
    measures = dict.fromkeys(DOMAINS, "Dice")
    starts = ["masking alone", "after the stages"]
    whole = {"starts": starts, "unseen": ["skin"], "measures": measures, "scores": scores}
    return whole | changes


def written(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "told.json"
    path.write_text(json.dumps(told(**changes)))
    return path


@pytest.fixture
def run(example_run: Maker, tmp_path: Path) -> Path:
    """The folder of a run."""
    folder: Path = example_run(sites=2, rounds=1).tell().write(tmp_path / "run")
    return folder


def test_a_run_without_such_a_file_has_no_such_section(run: Path) -> None:
    assert "transfer" not in write_report(run).read_text()


def test_the_section_tells_every_domain_and_which_was_unseen(run: Path, tmp_path: Path) -> None:
    take_transfer(written(tmp_path), run)
    page = write_report(run).read_text()
    assert page.count('id="transfer"') == page.count('href="#transfer"') == 1
    assert all(f'<th scope="row">{name}</th>' in page for name in DOMAINS[:-1])
    assert '<th scope="row">skin (unseen)</th>' in page
    assert page.count("not tested, 0.25 at best") == 2 * len(DOMAINS)
    assert "<h3>Linear probe</h3>" in page
    assert write_report(run).read_text().count('id="transfer"') == 1  # of the folder alone


def test_the_tests_say_how_sure_a_gain_is(run: Path, tmp_path: Path) -> None:
    for gain, words in ((0.02, "more than chance by both"), (-0.001, "cannot be told from")):
        take_transfer(written(tmp_path, gain=gain), run)
        shown = transfer_shown(run)
        assert shown is not None
        assert shown.tests == 4  # over pairs and over domains, of two ways
        assert all(words in way.meaning for way in shown.ways)


def test_where_seeds_are_enough_domains_are_tested_too(run: Path, tmp_path: Path) -> None:
    take_transfer(written(tmp_path, seeds=6), run)
    shown = transfer_shown(run)
    assert shown is not None
    assert shown.tests == 4 + 2 * len(DOMAINS)
    assert not any("not tested" in row[-1] for way in shown.ways for row in way.rows)


def test_a_mean_comes_with_its_deviation_where_it_has_one() -> None:
    assert over_seeds([0.25]) == "0.250"
    assert over_seeds([0.1, 0.3], sign="+") == "+0.200 ± 0.141"


def test_names_are_escaped(run: Path, tmp_path: Path) -> None:
    take_transfer(written(tmp_path, starts=["<script>alert(1)</script>", "b"]), run)
    assert "<script" not in write_report(run).read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scores": told()["scores"][:1] * 2}, "with seed 0 is told twice"),
        ({"measures": {}}, "has scores and no measure"),
        ({"unseen": ["moon"]}, "is unseen and has no score"),
        ({"starts": ["a", "a"]}, "both starts are called"),
        ({"scores": []}, "at least 1"),
        ({"weight": 1}, "not a known setting"),
    ],
)
def test_a_file_that_tells_no_pairs_is_refused_and_the_run_is_as_it_was(
    run: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    before = {path.name for path in run.iterdir()}
    with pytest.raises(ConfigError, match=words):
        take_transfer(written(tmp_path, **change), run)
    assert {path.name for path in run.iterdir()} == before


def test_taking_the_run_s_own_file_again_changes_nothing(run: Path, tmp_path: Path) -> None:
    take_transfer(written(tmp_path), run)
    before = read_transfer(run / "transfer.json")
    take_transfer(run / "transfer.json", run)
    assert read_transfer(run / "transfer.json") == before
