"""``fedefm privacy topology`` as a data scientist and an officer meet it."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from nvflare_jobs import cli

GOSSIP = {"algorithm": "gossip", "schedule": "grid", "rounds": 6}
SWAP = {"schedule": "grid", "rounds": 5}
DP = {"noise_multiplier": 1.0}


@dataclass
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the console script on ``fedefm privacy topology ...``."""

    def command(*arguments: str | Path | int) -> Result:
        monkeypatch.setattr(sys, "argv", ["fedefm", "privacy", "topology", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return Result(int(ended.value.code or 0), printed.out, printed.err)

    return command


@pytest.fixture
def run_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run file with these settings of the federation, and of privacy."""

    def write(federation: dict[str, Any], privacy: dict[str, Any] | None = None) -> Path:
        secagg: dict[str, Any] = {"secagg": {}}
        sections = {"federation": federation, "privacy": secagg if privacy is None else privacy}
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(sections), encoding="utf-8")
        return path

    return write


def refused(result: Result, *words: str) -> None:
    assert result.code == 2, result
    assert result.err.startswith("fedefm: ")
    for word in words:
        assert word in result.err
    assert result.out == ""


def test_a_safe_run_ends_with_zero(run, run_file):
    told = run(run_file(GOSSIP), "--count", 9)
    assert told.code == 0
    assert told.out.endswith("safe: no site can solve for another one's part of a sum\n")
    assert "not safe" not in told.out


def test_two_of_a_row_expose_the_third_and_a_larger_cohort_is_proposed(run, run_file):
    told = run(run_file(GOSSIP), "--count", 9, "--colluders", 2)
    assert told.code == 1
    lines = told.out.splitlines()
    assert lines[0].startswith("9 sites, 6 rounds: gossip, topology ring, schedule grid; secure")
    rows = [line.split() for line in lines[2:5]]
    assert rows[0][:2] == ["colluding", "sites"]
    assert rows[1] == ["1", "0", "of", "9", "nobody", "is", "exposed"]
    assert rows[2][:4] == ["2", "18", "of", "36"]
    assert "site-1 and site-2 solve for site-3, in a single round" in lines[4]
    assert lines[-1].startswith("way out: set federation.schedule to 'grid' and federation.cohort ")
    assert "to 4 (0.44 messages more per site and round)" in lines[-1]


def test_the_colluders_of_the_run_file_count_unless_others_are_given(run, run_file):
    file = run_file(GOSSIP, {"secagg": {"colluders": 2}})
    assert run(file, "--count", 9).code == 1
    assert run(file, "--count", 9, "--colluders", 1).code == 0


def test_rounds_sums_and_traffic_are_counted(run, run_file):
    """vit_micro has 460,128 weights that travel; a mean is handed to the two others."""
    told = run(run_file({**SWAP, "rounds": 10}), "--count", 9)
    rows = {line.split("  ")[0]: line for line in told.out.splitlines() if "message" in line}
    averaging = " ".join(rows["1-4, 6-9 (8)"].split())
    assert averaging.endswith("3 sums of 3 1 to 2 messages (at most 3.68 MB)")
    assert "single releases" in rows["5, 10 (2)"]
    assert rows["at the end"].endswith("1 sum of 9          1 message (1.84 MB)")


def test_compact_parts_weigh_three_bytes_and_means_four(run, run_file):
    plain = run(run_file(GOSSIP), "--count", 3).out
    compact = run(run_file(GOSSIP, {"secagg": {"compact": True}}), "--count", 3).out
    assert "at the end  1 sum of 3      1 message (1.84 MB)" in plain
    assert "at the end  1 sum of 3      1 message (1.38 MB)" in compact
    assert "(at most 3.68 MB)" in plain
    assert "(at most 3.68 MB)" in compact


def test_json_has_the_same_for_scripts(run, run_file):
    told = run(run_file(SWAP, {"secagg": {}, "dp": DP}), "--names", "a,b,c", "--json")
    assert told.code == 0
    assert told.json["safe"] is True
    assert told.json["reasons"] == []
    assert told.json["sites"] == ["a", "b", "c"]
    assert told.json["exposures"] == [
        {
            "colluders": 1,
            "sets": 3,
            "exposing": 0,
            "worst": [],
            "exposed": [],
            "when": "",
            "ever": [],
        }
    ]
    assert told.json["rounds"] == [
        {"rounds": [1, 2, 3, 4], "sums": [3], "releases": 0, "messages": [2, 1, 1]},
        {"rounds": [5], "sums": [], "releases": 4, "messages": [0, 2, 2]},
        {"rounds": [], "sums": [3], "releases": 0, "messages": [1, 1, 1]},
    ]
    shown = {(one["from"], one["to"]): one["models"] for one in told.json["single_releases"]}
    assert len(shown) == 2
    assert set(shown.values()) == {2}  # the weights, and what the partner made of them
    assert told.json["proposal"] is None
    assert told.json["weights"] == 460128


def test_json_of_an_unsafe_run_names_who_exposes_whom_and_what_to_set(run, run_file):
    told = run(run_file(GOSSIP), "--count", 9, "--colluders", 2, "--json")
    assert told.code == 1
    assert told.json["safe"] is False
    assert told.json["exposures"][1]["worst"] == ["site-1", "site-2"]
    assert told.json["exposures"][1]["exposed"] == ["site-3"]
    assert told.json["proposal"]["federation"] == {"schedule": "grid", "cohort": 4}


@pytest.mark.parametrize("asked", [9, 4])
def test_more_colluders_than_other_sites_are_said_once_to_be_too_many(run, run_file, asked):
    told = run(run_file({**GOSSIP, "cohort": 4}), "--count", 4, "--colluders", asked)
    assert told.code == 1
    lines = told.out.splitlines()
    assert [line.split()[0] for line in lines[3:6]] == ["1", "2", "3"]
    assert lines[6] == f"of 4 sites no more than 3 can collude, {asked} cannot"
    assert lines[7] == ""
    assert told.out.count("no more than 3") == 1
    assert f"of 4 sites, 3 know all parts of any sum but one; let at least {asked + 2}" in lines[-1]


def test_as_many_colluders_as_there_can_be_are_not_too_many(run, run_file):
    told = run(run_file(GOSSIP), "--count", 4, "--colluders", 3)
    assert "no more than" not in told.out


def test_one_of_two_sites_cannot_be_expected_away(run, run_file):
    fedavg = {"scenario": "client_server", "algorithm": "fedavg"}
    told = run(run_file(fedavg), "--count", 2)
    assert told.out.endswith(
        "way out: of 2 sites, 1 knows all parts of any sum but one; let at least 3 sites take part"
        "\n"
    )


# What the sites' own files demand.


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"min_cohort": 3}, "hosp-b would be hidden among 2 others"),
        ({"colluders": 2}, "'hosp-b' reckons with 2 colluding sites"),
        ({"require_dp": True}, "'hosp-b' requires differential privacy"),
    ],
)
def test_a_run_that_a_site_would_refuse_is_not_safe(
    run, run_file, hospitals, tmp_path, policy, words
):
    sites = Path(shutil.copytree(hospitals, tmp_path / "sites"))
    file = sites / "hosp-b" / "fedefm_site.yaml"
    kept = run(run_file(GOSSIP), "--sites", sites)
    assert kept.code == 0
    assert "not looked at" not in kept.out
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "policy": policy}))
    told = run(run_file(GOSSIP), "--sites", sites)
    assert told.code == 1
    (why,) = [line for line in told.out.splitlines() if line.startswith("not safe: ")]
    assert words in why
    as_json = run(run_file(GOSSIP), "--sites", sites, "--json").json
    assert as_json["safe"] is False
    assert as_json["reasons"] == [why.removeprefix("not safe: ")]
    assert as_json["site_policies_read"] is True


def test_it_says_so_where_no_policies_were_read(run, run_file):
    told = run(run_file(GOSSIP), "--count", 9)
    assert told.out.count("not looked at: what the sites' own policies demand") == 1
    assert run(run_file(GOSSIP), "--count", 9, "--json").json["site_policies_read"] is False


def test_sums_that_no_run_could_take_are_refused_here_too(run, run_file):
    file = run_file(GOSSIP, {"secagg": {"value_bits": 30}})
    refused(run(file, "--count", 9), "9 parties")


# What no sum hides.


def test_single_releases_are_named_and_pass_only_under_differential_privacy(run, run_file):
    plain = run(run_file(SWAP), "--count", 9)
    assert plain.code == 1
    assert "protected by nothing, since privacy.dp is not set:" in plain.out
    assert "not safe: whole models go to single partners" in plain.out
    (way_out,) = [line for line in plain.out.splitlines() if line.startswith("way out: ")]
    assert "set privacy.dp, or federation.algorithm to 'gossip'" in way_out
    assert "cohort" not in way_out  # the sums themselves hide everybody
    private = run(run_file(SWAP, {"secagg": {}, "dp": DP}), "--count", 9)
    assert private.code == 0
    assert "protected by differential privacy only:" in private.out
    assert "way out" not in private.out
    assert "  site-8 to site-7: 2 models" in private.out


def test_many_releases_are_told_in_few_lines(run, run_file):
    federation = {"update": "mixed", "schedule": "neighbors", "topology": "complete", "rounds": 2}
    told = run(run_file(federation, {"secagg": {}, "dp": DP}), "--count", 14)
    assert "  site-1 to 13 others: 4 models each" in told.out
    assert "  and 4 more sites; --json has all" in told.out


def test_a_run_without_secure_sums_is_never_safe(run, run_file):
    told = run(run_file(GOSSIP, {"dp": DP}), "--count", 9)
    assert told.code == 1
    assert "no secure sums" in told.out
    assert "every receiver sees each part as it is" in told.out


def test_where_nothing_is_sent_all_is_safe(run, run_file):
    told = run(run_file({"scenario": "local", "algorithm": "none"}, {}), "--count", 3)
    assert told.code == 0


# Which sites there are.


def test_the_names_come_from_a_folder_of_sites(run, run_file, hospitals):
    told = run(run_file(GOSSIP), "--sites", hospitals, "--json")
    assert told.json["sites"] == ["hosp-a", "hosp-b", "hosp-c"]


def test_the_names_come_from_the_graph_file_of_the_run(run, run_file, tmp_path):
    graph = tmp_path / "graph.csv"
    graph.write_text("b,a\na,c\n")
    told = run(run_file({**GOSSIP, "topology": str(graph)}), "--json")
    assert told.json["sites"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("topology 'ring' does not say which sites there are", "--count N")),
        (("--count", 3, "--names", "a,b,c"), ("give one",)),
        (("--names", "a,,c"), ("'a,,c' has an empty name",)),
        (("--names", "a,b,server"), ("cannot be called 'server'",)),
        (("--names", "a,b,a"), ("named twice: a",)),
        (("--count", 2), ("rows of 3 needs at least 3 sites", "; at least 3 sites must")),
        (("--sites", "nowhere"), ("nowhere does not exist",)),
        (("--count", 9, "--draw", "cohorts.pdf"), ("cohorts.pdf", ".png or .svg")),
        (("--count", 32, "--colluders", 6), ("906,192 ways", "fewer colluders")),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_way_out(run, run_file, arguments, words):
    refused(run(run_file(GOSSIP), *arguments), *words)


def test_a_run_file_that_is_none_is_refused(run, tmp_path):
    refused(run(tmp_path / "none.yaml", "--count", 3), "none.yaml does not exist")


# The picture.


@pytest.mark.parametrize(
    ("federation", "count"), [(GOSSIP, 9), (SWAP, 10), (GOSSIP, 27), (SWAP, 3)]
)
def test_a_picture_is_drawn_of_any_of_them(run, run_file, tmp_path, federation, count):
    path = tmp_path / "new" / "cohorts.png"
    run(run_file(federation), "--count", count, "--draw", path)
    with Image.open(path) as picture:
        assert picture.width > 900
        assert len(set(picture.convert("L").tobytes())) > 20


def test_the_picture_says_who_exposes_whom_and_names_every_site(run, run_file, tmp_path):
    path = tmp_path / "cohorts.svg"
    run(run_file(GOSSIP), "--count", 9, "--colluders", 2, "--draw", path)
    drawn = path.read_text(encoding="utf-8")
    assert "site-1 and site-2 (squares) can solve for the red ones, in a single round" in drawn
    for name in ("server", *(f"site-{k}" for k in range(1, 10))):
        assert f">{name}<" in drawn
    assert "3 rounds: 3 sums" in drawn
    assert "at the end: 1 sum" in drawn


def test_where_nothing_is_sent_that_is_drawn(run, run_file, tmp_path):
    path = tmp_path / "nothing.svg"
    file = run_file({"scenario": "local", "algorithm": "none"}, {})
    assert run(file, "--count", 3, "--draw", path).code == 0
    assert "nothing is sent" in path.read_text(encoding="utf-8")


def test_help_has_an_example_that_works_as_it_stands(run):
    told = run("--help")
    assert told.code == 0
    assert "fedefm privacy topology run.yaml --count 9 --colluders 2" in " ".join(told.out.split())
