"""The report: complete, offline, harmless for any name, honest about what is missing."""

import base64
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from fedefm.errors import DataError
from fedefm.report.overlays import overlays
from fedefm.report.protection import findings
from fedefm.report.record import read_record
from fedefm.report.run_report import write_report
from fedefm.report.tables import teaching

Maker = Callable[..., Any]
SECTIONS = (
    "score", "confusion", "loss", "corpora", "topology", "agreement", "participation",
    "traffic", "time", "segmentation", "protection", "settings", "reproduce",
)  # fmt: skip
VOID = {"meta", "br", "img", "link"}


class Page(HTMLParser):
    """Reads a page: sections with their text, ids, addresses, and tags left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: dict[str, str] = {"head": ""}
        self.figures: dict[str, int] = {}
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.open: list[str] = []
        self._section = "head"
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        if tag == "section":
            self._section = str(values["id"])
            self.texts[self._section] = ""
        if tag == "svg":
            self.figures[self._section] = self.figures.get(self._section, 0) + 1
        self.ids += [str(values["id"])] if "id" in values else []
        self.addresses += [str(v) for k, v in attrs if k in ("src", "href", "xlink:href", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts[self._section] += data.replace("\u00a0", " ")


def page_of(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def small_run(make: Maker, folder: Path) -> Path:
    return make(sites=2, rounds=1).tell().write(folder)


@pytest.fixture(scope="module")
def folder(example_run: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run in which everything was measured."""
    run = example_run(sites=4, rounds=6)
    run.missing["Bern", 2] = ("late", "no answer within 120 s")
    run.tell()
    run.add("rejected", round=3, site="Aachen", sender="Bern", reason="values are not finite")
    scores = {"dice": {"catheter": 0.812}, "cldice": {"catheter": 0.9}, "iou": {"catheter": 0.7}}
    run.add("segmentation_evaluated", name="from the foundation model", images=40, **scores)
    folder: Path = run.write(tmp_path_factory.mktemp("run"))
    run.write_overlays(folder)
    return folder


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_page_has_every_section_and_draws_what_was_measured(page: Page) -> None:

    assert [name for name in page.texts if name != "head"] == list(SECTIONS)
    assert page.open == []
    assert page.figures == {
        "score": 3, "loss": 1, "topology": 1, "agreement": 3, "participation": 1, "traffic": 2,
        "time": 1,
    }  # fmt: skip
    assert not any("not measured" in text for text in page.texts.values())


def test_page_needs_nothing_from_outside_and_runs_nothing(page: Page, text: str) -> None:

    assert page.tags.isdisjoint({"script", "link", "iframe", "object", "base", "form"})
    assert all(re.match(r"#|data:image/png;base64,", address) for address in page.addresses)
    assert "@import" not in text
    assert re.findall(r"url\((?!#)", text) == []


def test_no_two_elements_share_an_id_and_no_link_is_dead(page: Page, text: str) -> None:
    used = [a[1:] for a in page.addresses if a.startswith("#")] + re.findall(r"url\(#(.+?)\)", text)

    assert len(page.ids) == len(set(page.ids))
    assert set(used) <= set(page.ids)


def test_head_says_what_was_run_and_what_it_means(page: Page) -> None:
    head = page.texts["head"]

    assert "4 sites trained one vit_micro model (77,412 parameters, 310 kB) together" in head
    assert "71.3 % of the held-out images (95 % interval over patients: 66.4 % to 75.8 %)" in head
    assert "guessing gives 12.5 % and knowing one site's corpora gives 25.0 %" in head
    assert "the models that the sites themselves hold reach 58.7 %" in head
    assert "6 of 6" in head


def test_missing_sites_are_named_with_their_rounds_and_reasons(page: Page) -> None:
    text = page.texts["participation"]

    assert "Bern missed 1 round (3)" in text
    assert "no answer within 120 s" in text
    assert "values are not finite" in text


def test_segmentation_shows_the_best_and_the_worst_with_their_scores(
    page: Page, folder: Path
) -> None:
    pictures = [a for a in page.addresses if a.startswith("data:")]
    best = (folder / "segmentation" / "0007.png").read_bytes()

    assert "0.812" in page.texts["segmentation"]
    assert "catheter: Dice 0.70, guidewire: Dice 0.56" in page.texts["segmentation"]
    assert "catheter: Dice 0.00, guidewire: Dice 0.00" in page.texts["segmentation"]
    assert len(pictures) == 8  # three of the best, two in the middle, three of the worst
    assert base64.b64decode(pictures[0].split(",")[1]) == best


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "$\\frac{1}{2}$", "a\"b'c&", "東京"])
def test_any_name_is_shown_as_it_is_and_harms_nothing(
    example_run: Maker, tmp_path: Path, name: str
) -> None:
    run = example_run(sites=3, rounds=4)
    run.sites[1] = name
    run.edges = [[run.sites[0], name], [name, run.sites[2]]]
    run.classes = (*run.classes, f"corpus {name}")
    run.missing[name, 1] = ("failed", f"reason {name}")
    page = page_of(run.tell().write(tmp_path))

    assert page.tags.isdisjoint({"script", "frac"})
    assert page.open == []
    for section in ("score", "corpora", "topology", "participation", "time"):
        assert name[:10] in page.texts[section]
    assert f"corpus {name}" in page.texts["corpora"]
    assert f"reason {name}" in page.texts["participation"]


def test_interrupted_run_is_told_as_far_as_it_went(example_run: Maker, tmp_path: Path) -> None:
    run = example_run(sites=4, rounds=10)
    run.start()
    for number in range(4):
        run.tell_round(number)
    run.add("round_started", round=4)
    folder = run.write(tmp_path, result=False)
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"time": 17, "event": "rou')
    page = page_of(folder)

    assert "interrupted after 4 complete rounds of 10" in page.texts["head"]
    assert "4 of 10" in page.texts["head"]
    assert "No differential privacy" in page.texts["protection"]
    assert page.figures["score"] == 2


def test_a_run_stopped_before_its_first_round_says_not_measured(
    example_run: Maker, tmp_path: Path
) -> None:
    run = example_run(sites=2, rounds=10)
    run.start()
    page = page_of(run.write(tmp_path, result=False))

    for section in ("score", "loss", "agreement", "time", "segmentation"):
        assert "not measured" in page.texts[section].lower()
        assert section not in page.figures
    assert "The accuracy of the shared model was not measured" in page.texts["head"]


def test_a_run_of_one_round_says_where_its_accuracies_are(
    example_run: Maker, tmp_path: Path
) -> None:
    run = example_run(sites=2, rounds=1).tell()
    assert "the table has it" in page_of(run.write(tmp_path / "all")).texts["score"]
    own = [e for e in run.events if e["event"] == "evaluated" and e["site"] != "global"]
    run.events = [event for event in run.events if event not in own]
    for event in run.events:
        if event["event"] == "evaluated":
            event["split"] = "test"  # on which no site's own model is measured alone
    page = page_of(run.write(tmp_path / "shared"))
    assert "round 1: the shared model names the right class for" in page.texts["score"]
    assert "Own model, own held-out images" in page.texts["score"]
    assert "images of all sites, the models that the sites themselves hold" in page.texts["head"]


def test_how_to_repeat_a_run_names_its_sites_where_they_are_real(
    example_run: Maker, tmp_path: Path
) -> None:
    run = example_run(sites=2, rounds=1).tell()
    here = page_of(run.write(tmp_path / "here")).texts["reproduce"]
    assert "--sites FOLDER_OF_SITES --out NEW_FOLDER --where process" in here
    run.events = [{**event, "where": "prod"} for event in run.events]
    there = page_of(run.write(tmp_path / "there")).texts["reproduce"]
    assert f"--sites {','.join(run.sites)} --out NEW_FOLDER --where prod --kit YOUR_KIT" in there


def test_events_alone_are_enough(example_run: Maker, tmp_path: Path) -> None:
    run = example_run(sites=3, rounds=3).tell()
    folder = run.write(tmp_path, result=False)
    (folder / "run.yaml").unlink()

    assert "not recorded" in page_of(folder).texts["settings"]


def test_corpora_are_read_from_their_own_file_where_no_event_tells_them(
    example_run: Maker, tmp_path: Path
) -> None:
    run = example_run(sites=3, rounds=3).tell()
    run.events = [event for event in run.events if event["event"] != "corpora"]
    folder = run.write(tmp_path)
    held = {"Aachen": {"retina": {"train": 77, "validation": 5, "test": 6}}}
    (folder / "corpora.json").write_text(json.dumps({"holdings": held}))

    assert "77" in page_of(folder).texts["corpora"]


@pytest.mark.parametrize(
    ("protection", "said"),
    [
        ({"simulated": True}, "Simulated sites, no encryption"),
        ({"simulated": False}, "The relaying server could read the models"),
        ({"simulated": False, "end_to_end_encryption": True}, "Encrypted from site to site"),
        ({"secure_sums": True}, "Secure sums"),
        ({}, "No secure sums"),
        ({}, "No differential privacy"),
    ],
)
def test_says_what_was_and_was_not_protected(
    example_run: Maker, tmp_path: Path, protection: dict[str, bool], said: str
) -> None:
    run = example_run(sites=3, rounds=2).tell()
    folder = run.write(tmp_path)
    (folder / "result.json").write_text(json.dumps(run.result() | {"protection": protection}))

    assert said in [finding.title for finding in findings(read_record(folder))]


@pytest.mark.parametrize(
    ("protection", "words"),
    [
        ({"single_releases": []}, []),
        ({"single_releases": ["weights"]}, ["went to one partner. No sum"]),
        (
            {"single_releases": ["weights", "experts"]},
            ["what the partner made of it came back. No sum can hide these"],
        ),
        (
            {"single_releases": ["weights"], "differential_privacy": True},
            ["bounded by the site's epsilon"],
        ),
    ],
)
def test_says_what_secure_sums_did_not_hide(
    example_run: Maker, tmp_path: Path, protection: dict[str, Any], words: list[str]
) -> None:
    run = example_run(sites=3, rounds=2).tell()
    folder = run.write(tmp_path)
    told = {"protection": {"secure_sums": True, **protection}}
    (folder / "result.json").write_text(json.dumps(run.result() | told))
    found = {finding.title: finding for finding in findings(read_record(folder))}

    assert "No secure sums" not in found
    assert found["Secure sums"].protected
    assert "one holder had the keys of all sites" in found["Secure sums"].text
    single = found.get("Single models beside the secure sums")
    assert (single is not None) == bool(words)
    for word in words:
        assert single is not None
        assert word in single.text
        assert not single.protected


def test_an_interrupted_run_with_secure_sums_says_so(example_run: Maker, tmp_path: Path) -> None:
    run = example_run(sites=3, rounds=2).tell()
    run.events[0]["single_releases"] = ["weights", "experts"]
    folder = run.write(tmp_path, result=False)
    settings = yaml.safe_load((folder / "run.yaml").read_text())
    settings["privacy"] = {"secagg": {"colluders": 2}}
    (folder / "run.yaml").write_text(yaml.safe_dump(settings))
    found = {finding.title: finding.text for finding in findings(read_record(folder))}

    assert "even where 2 parties pool" in found["Secure sums"]
    assert "Single models beside the secure sums" in found
    assert "sums over sites" in found["This report itself"]


def test_says_who_else_got_the_models_at_the_end(example_run: Maker, tmp_path: Path) -> None:
    run = example_run(sites=3, rounds=2).tell()
    run.add("published", round=2, sent_bytes=900)
    (finding,) = [
        f for f in findings(read_record(run.write(tmp_path))) if f.title == "No secure sums"
    ]

    assert "went to one party" in finding.text


@pytest.mark.parametrize(
    ("scenario", "names"),
    [("client_server", ["server", "Bern"]), ("local", []), ("centralized", [])],
)
def test_draws_only_who_really_exchanged(
    example_run: Maker, tmp_path: Path, scenario: str, names: list[str]
) -> None:
    run = example_run(sites=3, rounds=1)
    run.scenario = scenario  # the run file still names a ring
    page = page_of(run.tell().write(tmp_path))

    assert page.figures.get("topology", 0) == bool(names)
    for name in names:
        assert name in page.texts["topology"]


def test_an_epsilon_is_shown_with_all_that_gives_it_meaning(
    example_run: Maker, tmp_path: Path
) -> None:
    run = example_run(sites=2, rounds=2).tell()
    folder = run.write(tmp_path)
    spent = {"epsilon": 3.25, "delta": 1e-5, "unit": "patient", "adjacency": "add/remove"}
    result = run.result() | {
        "privacy": {"Aachen": spent | {"accountant": "PLD"}, "Bern": None},
        "protection": {"differential_privacy": True, "simulated": True},
    }
    (folder / "result.json").write_text(json.dumps(result))
    text = page_of(folder).texts["protection"]

    for word in ("3.25", "1e-05", "patient", "add/remove", "PLD", "without a privacy guarantee"):
        assert word in text


SPENT = {
    "epsilon": 7.991, "delta": 1e-5, "unit": "patient", "adjacency": "add_or_remove_one",
    "accountant": "PLD (pessimistic)", "noise_multiplier": 1.281, "sampling_rate": 0.25,
    "steps": 120, "units": 40, "batch_cap": 26,
}  # fmt: skip


def private_run(example_run: Maker) -> Any:
    """What a private run tells: no losses, no agreement, no holdings."""
    run = example_run(sites=2, rounds=3)
    run.tell()
    kept = [e for e in run.events if e["event"] not in ("similarity", "corpora")]
    run.events = [e | {"loss": None} if e["event"] == "round" else e for e in kept]
    planned = SPENT | {"costs": {"step": 0.5, "round": 1.5, "guest": 0.25}}
    for site in run.sites:
        run.events.insert(1, {"event": "privacy_planned", "time": 1.0, "site": site, **planned})
    return run


def test_a_private_run_is_told_as_one_and_with_what_it_does_not_cover(
    example_run: Maker, tmp_path: Path
) -> None:
    run = private_run(example_run)
    folder = run.write(tmp_path)
    result = run.result() | {"privacy": dict.fromkeys(run.sites, SPENT)}
    result["protection"]["differential_privacy"] = True
    (folder / "result.json").write_text(json.dumps(result))
    page = page_of(folder)
    text = page.texts["protection"]

    assert "No differential privacy" not in "".join(page.texts.values())
    head = page.texts["head"]
    assert "Not private" not in head
    assert "with differential privacy; without secure sums, encryption" in head
    assert "What epsilon does not cover" in text
    for word in ("8.00", "1e-05", "patient", "add or remove one", "1.281", "at most 26 of 40",
                 "Poisson, rate 0.250", "120", "PLD"):  # fmt: skip
        assert word in text
    for section in ("loss", "corpora"):
        assert "not told" in page.texts[section]
    assert "cannot be repeated" in page.texts["reproduce"]
    assert "gives the same run again" not in page.texts["reproduce"]


def test_a_private_run_that_was_cut_shows_what_it_would_have_spent_at_most(
    example_run: Maker, tmp_path: Path
) -> None:
    page = page_of(private_run(example_run).write(tmp_path, result=False))
    assert "Private" in page.texts["head"]
    assert "at most 8.00" in page.texts["protection"]


def test_a_public_start_and_what_of_it_was_trained_are_told(
    example_run: Maker, tmp_path: Path
) -> None:
    run = example_run(sites=2, rounds=2).tell()
    run.events[0] |= {"start": "<public>", "train_last": 2}
    head = page_of(run.write(tmp_path)).texts["head"]
    assert "started from “<public>”, of which only the last 2 blocks and the head" in head


def test_where_one_site_was_not_private_the_run_was_not(example_run: Maker, tmp_path: Path) -> None:
    run = private_run(example_run)
    first = next(e for e in run.events if e["event"] == "privacy_planned")
    run.events.remove(first)
    text = page_of(run.write(tmp_path, result=False)).texts["protection"]
    assert "No differential privacy" in text
    assert "trained without a privacy guarantee" in text


def test_report_is_replaced_whole(example_run: Maker, tmp_path: Path) -> None:
    folder = small_run(example_run, tmp_path)
    (folder / "report.html").write_text("old")

    assert "</html>" in write_report(folder).read_text()
    assert not list(folder.glob("*.part"))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("result.json", "{cut"),
        ("result.json", "[]"),
        ("run.yaml", "a: [b"),
        ("run.yaml", "just words"),
        ("segmentation/scores.json", '{"images": [{"dice": {}}]}'),
    ],
)
def test_unreadable_file_is_named(
    example_run: Maker, tmp_path: Path, file: str, content: str
) -> None:
    folder = small_run(example_run, tmp_path)
    (folder / "segmentation").mkdir()
    (folder / file).write_text(content)

    with pytest.raises(DataError, match=re.escape(Path(file).name)):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_folder_without_a_run_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no events\.jsonl; give the folder"):
        write_report(tmp_path)


def test_overlays_come_from_the_segmentation_folder_and_from_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "segmentation").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    scores = {"images": [{"file": "../secret.png", "dice": {"catheter": 1.0}}]}
    (tmp_path / "segmentation" / "scores.json").write_text(json.dumps(scores))

    assert overlays(tmp_path / "segmentation") == {}


def test_overlays_that_name_their_case_are_shown_under_it(tmp_path: Path) -> None:
    folder = tmp_path / "segmentation"
    folder.mkdir()
    listed = []
    for place, case in enumerate(("worst", "median", "best", "best")):
        Image.new("RGB", (4, 4)).save(folder / f"{place}.png")
        listed.append({"file": f"{place}.png", "case": case, "dice": {"catheter": place / 10}})
    (folder / "scores.json").write_text(json.dumps({"images": listed}))
    found = overlays(folder)

    assert {case: [one.name for one in some] for case, some in found.items()} == {
        "best": ["3", "2"],
        "median": ["1"],
        "worst": ["0"],
    }
    assert "one of the worst predictions: Dice 0.00 (catheter)" in found["worst"][0].words


def test_weights_of_experts_add_up_to_one_for_each_model_and_round(
    example_run: Maker, tmp_path: Path
) -> None:
    run = example_run(sites=4, rounds=6)
    run.tell()
    run.add("similarity", round=5, student="Aachen", expert="Cambridge", value=-0.4)
    shares = teaching(read_record(run.write(tmp_path)))

    assert dict(shares["Aachen", "Cambridge"])[6] == 0.0
    for student in run.sites:
        for number in (3, 6):
            told = [dict(p).get(number, 0) for (s, _), p in shares.items() if s == student]
            assert sum(told) == pytest.approx(1)


def test_who_was_not_asked_missed_no_round(example_run: Maker, tmp_path: Path) -> None:
    run = example_run(sites=4, rounds=10).tell()
    resting = run.sites[0]
    for event in run.events:
        if event["event"] == "round_finished" and event["round"] % 2:
            event["participants"] = [site for site in run.sites if site != resting]
            event["missing"], event["resting"] = {}, [resting]
        if event["event"] == "round" and event["round"] % 2 and event["site"] == resting:
            event["status"], event["reason"] = "resting", None
    page = page_of(run.write(tmp_path))
    assert "every round in which they were asked" in page.texts["participation"]
    assert f"{resting} missed" not in page.texts["participation"]
    assert "5 of 5" in page.texts["score"]


@pytest.mark.parametrize(
    ("where", "in_sums", "said"),
    [
        ("process", False, None),
        ("prod", False, "images stay at their sites"),
        ("process", True, "in a run that protects them"),
    ],
)
def test_it_says_why_nothing_painted_is_shown(
    example_run: Maker, tmp_path: Path, where: str, in_sums: bool, said: str | None
) -> None:
    run = example_run(sites=3, rounds=3).tell()
    run.events[0]["where"] = where
    folder = (run.hide_single_numbers() if in_sums else run).write(tmp_path / "run")
    (folder / "run.yaml").write_text(yaml.safe_dump({"masking": {}}))
    page = write_report(folder).read_text()
    assert ("hidden patches are painted as" in page) == (said is not None)
    assert said is None or said in page
