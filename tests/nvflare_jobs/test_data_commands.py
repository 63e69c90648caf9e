"""`fedefm data` as a person meets it: what it prints, how it ends, what it leaves."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from fedefm.data.kinds import kinds_of
from fedefm.data.manifest import COLUMNS, Row, read_manifest, write_manifest
from nvflare_jobs import cli

COMMANDS = ("ingest", "check", "preview", "split", "holdout", "simulate")


@dataclass
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the console script on ``fedefm data ...``."""

    def command(*arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["fedefm", "data", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return Result(int(ended.value.code or 0), printed.out, printed.err)

    return command


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Four corpora of five patients, with masks."""
    folder = tmp_path / "set"
    rows = []
    for corpus in ("angio", "brust", "图", "d e"):
        for number in range(5):
            path, mask = f"{corpus}/{number}.png", f"{corpus}/{number}_mask.png"
            (folder / corpus).mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 20 * number).save(folder / path)
            Image.new("L", (8, 8), 1).save(folder / mask)
            rows.append(Row(path, 0, f"secret-{corpus}-{number}", corpus, "", mask))
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


def refused(result: Result, sentence: str) -> None:
    """One sentence on standard error, exit code 2, and no patient named."""
    assert result.code == 2, result
    assert sentence in result.err
    assert "Traceback" not in result.err
    assert "secret" not in result.err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.code == 0
    assert f"Example: fedefm data {command}" in result.out


def test_images_come_in_are_checked_looked_at_and_divided(
    run: Run, manifest: Path, tmp_path: Path
) -> None:
    for corpus in manifest.parent.iterdir():
        if corpus.is_dir():
            made = run("ingest", corpus, tmp_path / "in" / corpus.name)
            assert made.code == 0
            assert "images: 5, patients: 5, corpora: 1, masks: 5" in made.out
            assert "each file counts as one patient" in made.out
    manifests = sorted((tmp_path / "in").glob("*/manifest.csv"))
    assert "is in order" in run("check", manifests[0], "--hashes").out
    assert run("preview", manifests[0], tmp_path / "sheet.png").code == 0
    assert Image.open(tmp_path / "sheet.png").width > 100
    divided = run("split", *manifests, tmp_path / "sites", "--sites", "2", "--unseen", "1")
    assert divided.code == 0
    assert "site-2: " in divided.out
    for site in ("site-1", "site-2"):
        assert len({*kinds_of(read_manifest(tmp_path / "sites" / site / "manifest.csv").rows)}) == 2


def test_json_is_one_object_and_nothing_else(run: Run, manifest: Path, tmp_path: Path) -> None:
    source = manifest.parent / "angio"
    for command in (
        ("ingest", source, tmp_path / "in"),
        ("check", manifest),
        ("preview", manifest, tmp_path / "a.png"),
        ("split", manifest, tmp_path / "sites", "--sites", "4"),
        ("holdout", manifest, manifest.parent / "holdout.csv"),
        ("simulate", tmp_path / "sim", "--patients", "1", "--frames", "1", "--size", "32"),
    ):
        result = run(*command, "--json")
        assert result.code == 0
        assert isinstance(json.loads(result.out), dict)
        assert result.err == ""
        assert "secret" not in result.out


def test_images_that_a_layout_leaves_are_refused_or_counted(run: Run, tmp_path: Path) -> None:
    for name in ("No_findings/1_0.png", "Pneumonia/2_0.png", "Edema/3_0.png"):
        (tmp_path / "set" / name).parent.mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "set" / name)
    refused(run("ingest", tmp_path / "set", tmp_path / "out", "--show-paths"), "(Edema/3_0.png)")
    explicit = ("ingest", tmp_path / "set", "--layout", "nih-cxr-mini")
    assert "passed over: 1 image files" in run(*explicit, tmp_path / "a").out
    assert json.loads(run(*explicit, tmp_path / "b", "--json").out)["passed_over"] == 1


def test_ingest_says_that_patients_are_blocks_of_one_person(
    run: Run, tmp_path: Path, shared_data: Path
) -> None:
    source = shared_data / "xa-dicom"
    if not source.is_dir():
        pytest.skip(f"no sample set {source}")
    assert "speak of a person seen in training" in run("ingest", source, tmp_path / "a").out
    notes = json.loads(run("ingest", source, tmp_path / "b", "--json").out)["notes"]
    assert [note for note in notes if "speak of a person seen in training" in note] == notes != []


def test_simulated_images_are_in_order(run: Run, tmp_path: Path) -> None:
    domains = ("--domains", "phantom,cardiac", "--patients", "3", "--frames", "1", "--size", "48")
    made = run("simulate", tmp_path / "sim", *domains)
    assert "images: 6, patients: 6, corpora: 2, masks: 6" in made.out
    assert run("check", tmp_path / "sim" / "manifest.csv", "--hashes").code == 0
    refused(run("simulate", tmp_path / "sim", *domains), "already")
    refused(run("simulate", tmp_path / "x", "--domains", "dental"), "dental")
    assert not (tmp_path / "x").exists()


def test_check_lists_all_that_is_wrong(run: Run, manifest: Path) -> None:
    folder = manifest.parent
    rows = list(read_manifest(manifest).rows)
    for row in rows[:12]:
        (folder / row.path).write_bytes(b"broken")
        Image.new("L", (4, 4)).save(folder / rows[15].mask_path)
    lines = manifest.read_text().splitlines()
    lines += ["angio/0.png,1,secret-x,angio,,,train,", "brust/0.png,9,secret-x,angio,,,test,"]
    lines += ["../out.png,0,secret-y,angio,,,,", "angio/1.png,zero,secret-z,angio,,,,"]
    manifest.write_text("\n".join(lines) + "\n")
    result = run("check", manifest)
    refused(result, "row 17 (d e/0.png): the mask has 4 x 4 pixels and the image 8 x 8")
    assert result.err.count("cannot be read as an image") >= 12  # the list is not cut short
    for row in ("row 23", "its patient is in split 'test'", "'..' is not allowed", "'zero'"):
        assert row in result.err
    listed = json.loads(run("check", manifest, "--json").out)
    assert len(listed["problems"]) >= 16
    assert run("check", manifest, "--json").code == 2


def test_check_says_whether_there_are_labels(run: Run, manifest: Path) -> None:
    with_labels = run("check", manifest, "--unlabeled")
    assert with_labels.code == 2
    assert "have a label and" in with_labels.err
    lines = [line.split(",") for line in manifest.read_text().splitlines()]
    empty = [lines[0].index("label"), lines[0].index("mask_path")]
    for line in lines[1:]:
        for place in empty:
            line[place] = ""
    manifest.write_text("\n".join(",".join(line) for line in lines) + "\n")
    without = run("check", manifest, "--unlabeled")
    assert without.code == 0
    assert "no labels and no masks" in without.out


BAD_MANIFESTS = {
    "missing": (None, "does not exist"),
    "empty": (b"", "has the columns"),
    "without rows": ((",".join(COLUMNS) + "\n").encode(), "lists no images"),
    "another table": (b"a,b\n1,2\n", "has the columns 'a,b'"),
    "an image": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is a binary file"),
    "latin-1": ("größe".encode("latin-1"), "is not UTF-8"),
    "one endless line": (b"x" * 1_000_000, "is not CSV"),
    "a path that leaves": ((",".join(COLUMNS) + "\n../a.png,0,secret,c,,,,\n").encode(), "'..'"),
    "missing images": ((",".join(COLUMNS) + "\na.png,0,secret,c,,,,\n").encode(), "does not exist"),
}


@pytest.mark.parametrize("kind", BAD_MANIFESTS)
@pytest.mark.parametrize("command", ["check", "preview", "split"])
def test_bad_manifests_end_in_one_sentence(
    run: Run, tmp_path: Path, command: str, kind: str
) -> None:
    content, sentence = BAD_MANIFESTS[kind]
    path = tmp_path / "größe 图.csv"
    if content is not None:
        path.write_bytes(content)
    rest = {
        "check": (),
        "preview": (tmp_path / "out.png",),
        "split": (tmp_path / "out", "--sites", "2"),
    }[command]
    result = run(command, path, *rest)
    refused(result, sentence)
    assert len(result.err) < 600
    assert {p.name for p in tmp_path.iterdir()} <= {path.name}


@pytest.mark.parametrize("command", ["check", "preview", "split"])
def test_a_patient_in_two_splits_ends_every_command(
    run: Run, manifest: Path, tmp_path: Path, command: str
) -> None:
    rows = [Row("angio/0.png", 0, "secret", "c", split="train")]
    write_manifest(manifest, [*rows, Row("angio/1.png", 0, "secret", "c", split="test")])
    rest = {"preview": (tmp_path / "o.png",), "split": (tmp_path / "o", "--sites", "1")}
    result = run(command, manifest, *rest.get(command, ()))
    refused(result, "row 3 (angio/1.png): its patient is in split 'test' here and in 'train'")


@pytest.mark.parametrize("kind", ["missing", "empty", "corrupt", "wrong type", "small mask"])
def test_bad_sources_end_in_one_sentence(run: Run, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "größe 图"
    if kind != "missing":
        source.mkdir()
    if kind == "corrupt":
        (source / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\1" * 60)
        (source / "b.png").write_bytes(b"\x89PNG")
    if kind == "wrong type":
        (source / "table.xlsx").write_bytes(b"PK\3\4")
    if kind == "small mask":
        np.save(source / "a.npy", np.zeros((8, 8)))
        np.save(source / "a_mask.npy", np.zeros((8, 9)))
    sentence = {
        "missing": "does not exist",
        "empty": "holds no images",
        "corrupt": "file 1 cannot be read as an image",
        "wrong type": "holds no images",
        "small mask": "the mask has 9 x 8 pixels and the image 8 x 8",
    }[kind]
    refused(run("ingest", source, tmp_path / "out"), sentence)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


def test_targets_that_cannot_be_written_are_named(run: Run, manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "deep"
    for command in (
        ("ingest", manifest.parent / "angio", target),
        ("preview", manifest, target / "a.png"),
        ("split", manifest, target, "--sites", "2"),
    ):
        refused(run(*command), "cannot be written")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_target_is_named(run: Run, manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    result = run("ingest", manifest.parent / "angio", tmp_path / "locked" / "out")
    refused(result, "cannot be written")


def test_impossible_divisions_are_refused(run: Run, manifest: Path, tmp_path: Path) -> None:
    refused(run("split", manifest, tmp_path / "o", "--sites", "5"), "4 labels are too few for 5")
    few = run("split", manifest, tmp_path / "o", "--sites", "5", "--unseen", "0")
    refused(few, "patients to train on, too few for 5 sites")
    assert run("split", manifest, tmp_path / "o", "--sites", "2", "--unseen", "2").code == 2
    assert not (tmp_path / "o").exists()


def test_a_key_that_is_none_is_refused(run: Run, manifest: Path, tmp_path: Path) -> None:
    result = run("ingest", manifest.parent / "angio", tmp_path / "out", "--key", manifest)
    refused(result, "is not a pseudonym key")


def test_ingest_says_what_it_left_out_in_numbers(run: Run, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name in ("Miller_1", "Miller_2"):
        Image.new("L", (4, 4), 9).save(tmp_path / "set" / f"{name}.png")
    (tmp_path / "set" / "Miller_2.png").write_bytes(b"broken")
    made = run("ingest", tmp_path / "set", tmp_path / "a", "--skip-unreadable")
    assert made.code == 0
    assert "left out: file 2 cannot be read as an image" in made.out
    assert "Miller" not in made.out + made.err
    shown = run("ingest", tmp_path / "set", tmp_path / "b", "--show-paths")
    refused(shown, "Miller_2.png cannot be read as an image")
    report = json.loads(
        run("ingest", tmp_path / "set", tmp_path / "c", "--skip-unreadable", "--json").out
    )["report"]
    assert [(line["file"], line["outcome"]) for line in report] == [(2, "left out")]


def test_ingest_sums_up_the_slices_that_a_layout_leaves(run: Run, tmp_path: Path) -> None:
    for number, slices in ((1, 5), (2, 9)):
        for part in ("imagesTr", "labelsTr"):
            path = tmp_path / "in" / "Task04_Hippocampus" / part / f"hippocampus_00{number}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            voxels = np.ones((8, 8, slices), np.uint8)
            nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    made = run("ingest", tmp_path / "in", tmp_path / "out")
    assert "left out: 12 frames of 2 files: the layout" in made.out


def test_ingest_takes_frames_by_rate_above_zero(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((6, 5, 5), np.uint8))
    made = run("ingest", tmp_path / "a.npy", tmp_path / "out", "--max-frames", "2")
    assert "images: 2" in made.out
    assert "taken: 1 file: 2 of its 6 frames were chosen" in made.out
    assert run("ingest", tmp_path / "a.npy", tmp_path / "b", "--frames-per-second", "0").code == 2


def test_patients_are_set_aside_and_it_is_told_how_many(run: Run, manifest: Path) -> None:
    made = run("holdout", manifest, manifest.parent / "new.csv", "--fractions", "60/20/20")
    assert made.code == 0
    assert "angio: 3 / 1 / 1 images (train / validation / test)" in made.out
    assert "patients: 12 / 4 / 4" in made.out
    assert run("check", manifest.parent / "new.csv").code == 0
    told = run("holdout", manifest, manifest, "--fractions", "60/20/30")
    refused(told, "'60/20/30' add up to 110; they must add up to 100")


def test_warnings_are_told_apart_from_problems(run: Run, manifest: Path) -> None:
    told = json.loads(run("check", manifest, "--json").out)
    assert told["problems"] == []
    assert sum("all pixels of the image are equal" in warning for warning in told["warnings"]) == 4
    assert told["constant"] == list(range(2, 22))
    assert told["alike"] == []
    assert told["mask_values"]["angio"] == {"1": 5}
    assert told["classes"]["angio"] == {"patients": 5, "images": {"": 5}}
    seen = run("check", manifest)
    assert seen.code == 0
    assert f"warnings: {len(told['warnings'])}" in seen.out
    assert seen.err.count("warning: ") == len(told["warnings"])
    wrong = run("check", manifest, "--classes", "background")
    refused(wrong, "the mask has the value 1, which is none of 1 class, counted from 0")


def test_a_malformed_row_is_told_without_warnings_that_it_may_have_caused(
    run: Run, manifest: Path
) -> None:
    manifest.write_text(manifest.read_text() + "angio/0.png,1,secret-x,angio\n")
    result = run("check", manifest)
    refused(result, "row 22: has 4 cells instead of 8")
    assert "warning" not in result.err
    told = json.loads(run("check", manifest, "--json").out)
    assert told["warnings"] == []
    assert len(told["problems"]) == 1


def test_folders_that_became_labels_are_told(run: Run, manifest: Path, tmp_path: Path) -> None:
    for name in ("Miller", "Doe"):
        (tmp_path / "in" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 9).save(tmp_path / "in" / name / "a.png")
    result = run("ingest", tmp_path / "in", tmp_path / "out")
    assert "the names of 2 folders became labels" in result.out
    assert "Miller" not in result.out
    asked = run("ingest", tmp_path / "in", tmp_path / "out2", "--layout", "classes")
    assert "became labels" not in asked.out
    assert "2 frames" in asked.out
    pattern = ("--patient-pattern", "^([^/]+)/")
    named = run("ingest", tmp_path / "in", tmp_path / "out3", *pattern)
    assert "became labels" not in named.out
    assert "Miller" not in (tmp_path / "out3" / "manifest.csv").read_text()


def test_a_folder_in_the_source_is_refused(run: Run, manifest: Path) -> None:
    for out in (manifest.parent / "new", manifest.parent / "angio" / ".." / "a" / "b"):
        refused(run("ingest", manifest.parent, out), "name a folder elsewhere")
        assert not out.exists()
    assert run("ingest", manifest.parent / "angio" / "0.png", manifest.parent / "new").code == 0


def test_a_manifest_counts_once(run: Run, manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(manifest.parent)
    again = tmp_path / "link" / manifest.name
    refused(run("split", manifest, again, tmp_path / "sites", "--sites", "2"), "named twice")
    assert not (tmp_path / "sites").exists()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_terminal_without_all_letters_is_told_all_the_same(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    out, err = (TextIOWrapper(BytesIO(), "ascii") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    target = tmp_path / os.fsdecode("für_b\udce9".encode(errors="surrogateescape"))
    command = ["fedefm", "data", "ingest", str(manifest.parent / "图"), str(target)]
    monkeypatch.setattr(sys, "argv", [*command, *(["--json"] if as_json else [])])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    out.flush()
    told = out.buffer.getvalue()  # type: ignore[attr-defined]
    assert told.isascii()
    if as_json:
        assert json.loads(told)["manifest"] == str(target / "manifest.csv")
    else:
        assert b"wrote" in told


@pytest.mark.parametrize("classes", ["2", "background,", "a,a"])
def test_classes_are_named(run: Run, manifest: Path, classes: str) -> None:
    refused(run("check", manifest, "--classes", classes), "must be different names")
