"""Bad inputs end in one clear sentence or a listed skip: nothing is written, run, or swallowed."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bad_inputs as bad
import numpy as np
import pytest
from PIL import Image

from fedefm.data.manifest import Row, read_manifest, write_manifest
from fedefm.data.readers import read_image
from fedefm.errors import DataError
from nvflare_jobs import cli
from tests.full_disk import files_at_most

pytestmark = pytest.mark.timeout(120)  # each; a hang is a failure
LONGEST = 900  # characters of what is said of one bad file
MEMORY = 3 << 30  # bytes of address space that bombs may take, of which libraries take one


@dataclass
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which commands work, where nothing may be left."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


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


def assert_refused(result: Result, home: Path, longest: int = LONGEST) -> None:
    assert result.code == 2, result
    assert result.err.startswith("fedefm: "), result.err
    assert "Traceback" not in result.err
    assert "secret" not in result.err.lower()
    assert len(result.err) < longest, result.err
    assert result.out == ""
    assert list(home.iterdir()) == []  # nothing half done, and no mark of what was run


def manifest_of(folder: Path, *rows: Row) -> Path:
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


def assert_every_command_refuses(run: Run, path: Path, home: Path) -> None:
    """``path`` is the only image of its folder."""
    assert_refused(run("ingest", path.parent, home / "out"), home)
    assert_refused(run("ingest", path, home / "out", "--skip-unreadable"), home)
    manifest = manifest_of(path.parent, Row(path.name, 0, "secret-p", "c"))
    assert_refused(run("check", manifest), home)
    assert_refused(run("preview", manifest, home / "sheet.png"), home)


DAMAGED = [(kind, damage) for kind in bad.GOOD for damage in bad.DAMAGES]


@pytest.mark.parametrize(("kind", "damage"), DAMAGED)
def test_damaged_files_are_refused_by_every_command(
    run: Run, home: Path, tmp_path: Path, kind: str, damage: str
) -> None:
    path = tmp_path / "in" / f"a{kind}"
    path.parent.mkdir()
    path.write_bytes(bad.DAMAGES[damage](bad.GOOD[kind]()))
    assert_every_command_refuses(run, path, home)


@pytest.mark.parametrize("kind", bad.GOOD)
def test_the_same_files_undamaged_are_read(run: Run, home: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "in" / f"a{kind}"
    path.parent.mkdir()
    path.write_bytes(bad.GOOD[kind]())
    assert run("ingest", path.parent, home / "out").code == 0
    assert run("check", home / "out" / "manifest.csv", "--hashes").code == 0


@pytest.mark.parametrize("kind", bad.GOOD)
def test_a_file_of_another_kind_is_read_as_what_it_is_or_refused(tmp_path: Path, kind: str) -> None:
    for other, good in bad.GOOD.items():
        path = tmp_path / f"{other[1:]}{kind}"
        path.write_bytes(good())
        try:
            image = read_image(path)
        except DataError:
            continue
        assert image.shape == (48, 48)


@pytest.mark.parametrize("name", bad.VALUES)
def test_values_that_are_no_picture_are_refused(
    run: Run, home: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "in" / name
    path.parent.mkdir()
    path.write_bytes(bad.VALUES[name]())
    if name in bad.MAY_BE_READ:
        result = run("ingest", path.parent, home / "out", "--skip-unreadable", "--json")
        assert result.code in (0, 2)
        assert "secret" not in result.out + result.err
        assert result.code == 0 or result.err.startswith("fedefm: ")
        return
    assert_every_command_refuses(run, path, home)


@pytest.mark.parametrize("name", bad.MASKS)
def test_masks_that_do_not_fit_are_refused(run: Run, home: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(bad.pixels()).save(folder / "a.png")
    np.save(folder / "a_mask.npy", bad.MASKS[name])
    manifest = manifest_of(folder, Row("a.png", 0, "secret-p", "c", "", "a_mask.npy"))
    assert_refused(run("ingest", folder, home / "out"), home)
    assert_refused(run("check", manifest), home)


@pytest.mark.parametrize("name", bad.MANIFESTS)
def test_bad_manifests_are_refused_by_every_command(
    run: Run, home: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "set"
    bad.folder_of(folder)
    manifest = folder / "manifest.csv"
    manifest.write_bytes(bad.MANIFESTS[name])
    before = sorted(folder.rglob("*"))
    assert_refused(run("check", manifest), home)
    if name in ("a frame that is not there", "the manifest itself"):  # a look into the file tells
        return
    assert_refused(run("preview", manifest, home / "sheet.png"), home)
    assert_refused(run("split", manifest, home / "out", "--sites", "1"), home)
    assert_refused(run("holdout", manifest, folder / "new.csv"), home)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("kind", ["missing", "folder", "device", "pipe", "circle"])
def test_what_is_no_file_is_no_manifest(run: Run, home: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "manifest.csv"
    if kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "circle":
        path.symlink_to(path)
    assert_refused(run("check", path), home)
    assert_refused(run("preview", path, home / "sheet.png"), home)


@pytest.mark.parametrize(
    "name",
    ["empty", "missing", "hidden", "device", "pipe", "circle", "dangling", "folder", "no image"],
)
def test_sources_without_images_are_refused(
    run: Run, home: Path, tmp_path: Path, name: str
) -> None:
    source = tmp_path / "in"
    if name != "missing":
        source.mkdir()
    if name == "hidden":
        Image.fromarray(bad.pixels()).save(source / ".a.png")
    elif name == "device":
        (source / "a.png").symlink_to("/dev/zero")
    elif name == "pipe":
        os.mkfifo(source / "a.png")
    elif name == "circle":
        (source / "a.png").symlink_to("a.png")
        (source / "round").symlink_to(source)
    elif name == "dangling":
        (source / "a.png").symlink_to("nothing")
    elif name == "folder":
        (source / "a.png").mkdir()
    elif name == "no image":
        (source / "list.pkl").write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
        (source / "a.py").write_text("open('executed', 'w')")
    assert_refused(run("ingest", source, home / "out"), home)


NAMES = ["größe 図", " leading", "two  blanks", "a\nb", "a\tb", "a'b\"c", "-rf",
         "$(touch executed)",
         "`touch executed`", "a;touch executed", "%s%n", "{0}", "[bold]", "*", "a" * 200,
         "\u202egnp", "\udce9", "CON"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_are_only_names(run: Run, home: Path, tmp_path: Path, name: str) -> None:
    source = tmp_path / "in" / name
    source.mkdir(parents=True)
    Image.fromarray(bad.pixels()).save(source / f"{name}.png")
    made = run("ingest", source.parent, home / "out")
    assert made.code == 0, made
    assert run("check", home / "out" / "manifest.csv", "--hashes").code == 0
    assert run("preview", home / "out" / "manifest.csv", home / "sheet.png").code == 0
    assert {path.name for path in home.iterdir()} == {"out", "sheet.png"}
    (home / "out" / read_manifest(home / "out" / "manifest.csv").rows[0].path).write_bytes(b"")
    assert run("check", home / "out" / "manifest.csv").code == 2


def test_files_are_called_by_what_can_be_shown(run: Run, home: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a\u202e\x1b[2J\ngnp.png").write_bytes(b"broken")
    result = run("ingest", tmp_path / "in", home / "out", "--show-paths")
    assert_refused(result, home)
    assert r"a\u202e\x1b[2J\ngnp.png" in result.err


FORMULAS = ["=cmd|' /C calc'!A0", "+1+cmd", "-2+3+cmd", "@SUM(1)", " =1+1"]


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_do_not_get_into_tables(run: Run, home: Path, tmp_path: Path, name: str) -> None:
    safe = name.replace("/", "")  # a slash would be another folder
    for folder in (safe, "other"):
        (tmp_path / "classes" / folder).mkdir(parents=True)
        Image.fromarray(bad.pixels()).save(tmp_path / "classes" / folder / f"{safe}.png")
    labeled = run("ingest", tmp_path / "classes", home / "out", "--layout", "classes")
    assert_refused(labeled, home)
    assert "formula" in labeled.err
    called = ("ingest", tmp_path / "classes" / "other", home / "out", f"--corpus={name}")
    assert_refused(run(*called), home)
    assert run("ingest", tmp_path / "classes", home / "ok", "--layout", "images").code == 0
    for table in (home / "ok").rglob("*.csv"):
        if table.name.startswith("."):
            continue  # for its owner alone
        cells = table.read_text().replace('"', "").replace("\n", ",").split(",")
        assert not [cell for cell in cells if cell.strip()[:1] in tuple("=+@")], table


CONTROLS = ["a\nb", "\x1b[31mred", "bell\x07", "\x85", "\u202egnp", "\u2066", "\ufeff"]


@pytest.mark.parametrize("name", CONTROLS)
def test_terminals_are_told_nothing_by_names(
    run: Run, home: Path, tmp_path: Path, name: str
) -> None:
    source = tmp_path / f"c{name}c"
    source.mkdir()
    Image.fromarray(bad.pixels()).save(source / "a.png")
    result = run("ingest", source, home / "out")
    assert_refused(result, home)
    assert "control character" in result.err
    (source / "a.png").unlink()
    for label in (name, "other"):
        (source / label).mkdir()
        Image.fromarray(bad.pixels()).save(source / label / "a.png")
    result = run("ingest", source, home / "out", "--layout", "classes", "--corpus", "c")
    assert_refused(result, home)
    assert "control character" in result.err
    manifest = manifest_of(
        source, Row("a.png", 0, "p", f"c{name}c"), Row(f"a{name}.png", 0, "p", "c")
    )
    result = run("check", manifest)
    assert result.code == 2
    assert "row 2: corpus holds a control character" in result.err
    assert "row 3: path holds a control character" in result.err
    assert result.out == ""
    said = "".join(result.err.splitlines()).replace(str(source), "")
    assert said.isprintable()


def test_a_corpus_has_a_name(run: Run, home: Path, tmp_path: Path) -> None:
    Image.fromarray(bad.pixels()).save(tmp_path / "a.png")
    result = run("ingest", tmp_path / "a.png", home / "out", "--corpus", " ")
    assert_refused(result, home)
    assert "without a name" in result.err


def test_labels_that_are_no_text_are_refused(run: Run, home: Path, tmp_path: Path) -> None:
    for label in (b"b\xe9", b"other"):
        folder = tmp_path / "in" / os.fsdecode(label)
        folder.mkdir(parents=True)
        Image.fromarray(bad.pixels()).save(folder / "a.png")
    result = run("ingest", tmp_path / "in", home / "out", "--layout", "classes")
    assert_refused(result, home)
    assert "not UTF-8" in result.err


def test_numbers_below_zero_are_no_formulas(run: Run, home: Path, tmp_path: Path) -> None:
    Image.fromarray(bad.pixels()).save(tmp_path / "a.png")
    manifest = manifest_of(tmp_path, Row("a.png", 0, "p", "c", "-1"))
    assert run("check", manifest).code == 0


@pytest.mark.parametrize("room", [0, 10, 400])
def test_a_full_disk_leaves_nothing_half_done(
    run: Run, home: Path, tmp_path: Path, room: int
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(30):
        Image.fromarray(bad.pixels()).save(source / f"{number}.png")
    rows = [Row(f"{number}.png", 0, f"p{number}", "c") for number in range(30)]
    manifest = manifest_of(source, *rows)
    before = manifest.read_bytes()
    for command in (
        ("ingest", source, home / "out", "--files", "png"),
        ("preview", manifest, home / "sheet.png"),
        ("split", manifest, home / "out", "--sites", "2", "--unseen", "0"),
        ("holdout", manifest, source / "new.csv"),
        ("holdout", manifest, manifest),
    ):
        with files_at_most(room):
            result = run(*command)
        if command[0] == "ingest":  # what is done is kept, out of sight and to go on with
            assert "--resume" in result.err
            shutil.rmtree(home / ".out-unfinished")
        assert result.code == 2, (command, result)
        assert result.err.startswith("fedefm: ")
        assert "Traceback" not in result.err
        assert list(home.iterdir()) == []
        assert sorted(p.suffix for p in source.iterdir()) == [".csv"] + [".png"] * 30
        assert manifest.read_bytes() == before


@contextmanager
def as_somebody() -> Iterator[None]:
    """An account that may not read everything; root becomes nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_may_not_be_read_or_written_is_named(run: Run, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        place = Path(name)
        place.chmod(0o777)
        for folder, mode in (("in", 0o755), ("closed", 0o700), ("fixed", 0o555)):
            (place / folder).mkdir()
            Image.fromarray(bad.pixels()).save(place / folder / "a.png")
            manifest_of(place / folder, Row("a.png", 0, "p", "c"))
            (place / folder).chmod(mode if os.geteuid() == 0 else mode & 0o577)
        run("ingest", place / "fixed", place / "warm")  # what is imported late is imported now
        run("check", place / "fixed" / "manifest.csv")
        run("preview", place / "fixed" / "manifest.csv", place / "warm.png")
        (place / "in" / "a.png").chmod(0o000)
        left = {path.name for path in place.iterdir()}
        with as_somebody():
            refused = [
                run("ingest", place / "in", place / "out"),
                run("check", place / "in" / "manifest.csv"),
                run("preview", place / "in" / "manifest.csv", place / "sheet.png"),
                run("preview", place / "in" / "manifest.csv", place / "fixed" / "sheet.png"),
                run("holdout", place / "fixed" / "manifest.csv", place / "fixed" / "new.csv"),
                run("split", place / "fixed" / "manifest.csv", place / "fixed/o", "--sites", "1"),
            ]
            if os.geteuid() == 65534:
                refused.append(run("check", place / "closed" / "manifest.csv"))
                refused.append(run("ingest", place / "closed", place / "out"))
        for result in refused:
            assert result.code == 2, result
            assert result.err.startswith("fedefm: ")
            assert "Traceback" not in result.err
        assert {path.name for path in place.iterdir()} == left
        assert sorted(p.name for p in (place / "fixed").iterdir()) == ["a.png", "manifest.csv"]
        for folder in ("closed", "fixed"):
            (place / folder).chmod(0o700)


BOMB_SQUAD = """
import json, resource, sys, time
from pathlib import Path
import fedefm.data.check, fedefm.data.ingest, fedefm.data.preview
from fedefm.data.manifest import Row, write_manifest, read_manifest
from fedefm.data.readers import count_frames, read_image, read_mask
from fedefm.errors import DataError

resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
told = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    began, ended = time.monotonic(), {}
    rows = [Row(path.name, 0, "p", "c"), Row(path.name, 1, "p", "c", "", path.name)]
    write_manifest(path.parent / "manifest.csv", rows)
    manifest = read_manifest(path.parent / "manifest.csv")
    for name, work in {
        "image": lambda: read_image(path),
        "mask": lambda: read_mask(path),
        "count": lambda: count_frames(path),
        "preview": lambda: fedefm.data.preview.contact_sheet(manifest),
        "check": lambda: fedefm.data.check.look_over(manifest).problems[:2],
    }.items():
        try:
            value = work()
            ended[name] = [str(getattr(value, "shape", value))[:300]]
        except DataError as error:
            ended[name] = str(error)
        except Exception as error:
            ended[name] = {"raised": repr(error)[:300]}
    (path.parent / "manifest.csv").unlink()
    told[path.name] = [ended, time.monotonic() - began]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"told": told, "peak": peak}))
"""


def test_bombs_are_told_in_little_memory_and_time(tmp_path: Path) -> None:
    folder = tmp_path / "bombs"
    folder.mkdir()
    for name, content in bad.BOMBS.items():
        (folder / name).write_bytes(content())
    with (folder / "hole.npy").open("wb") as file:  # 3.6 GB that take no room on the disk
        file.write(bad.numpy_head((bad.HUGE, bad.HUGE)))
        file.truncate(128 + bad.HUGE**2)
    done = subprocess.run(
        [sys.executable, "-c", BOMB_SQUAD, str(folder), str(MEMORY)],
        capture_output=True,
        text=True,
        timeout=110,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    for name, (ended, seconds) in result["told"].items():
        assert seconds < 40, name
        for what, end in ended.items():
            assert not isinstance(end, dict), (name, what, end)
        if name not in bad.MAY_BE_READ:
            assert isinstance(ended["image"], str), (name, ended)
            assert isinstance(ended["preview"], str), (name, ended)
            assert ended["check"] != ["()"], name
    assert len(result["told"]) == len(bad.BOMBS) + 1
    assert result["peak"] < 1.5e9


def test_a_folder_of_everything_bad_is_listed_and_the_good_file_is_taken(
    home: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    Image.fromarray(bad.pixels()).save(source / "good.png")
    for number, (kind, damage) in enumerate(DAMAGED):
        (source / f"{number}{kind}").write_bytes(bad.DAMAGES[damage](bad.GOOD[kind]()))
    for number, name in enumerate(name for name in bad.VALUES if name not in bad.MAY_BE_READ):
        (source / f"value{number}{Path(name).suffix}").write_bytes(bad.VALUES[name]())
    files = len(list(source.iterdir()))
    options = ("--skip-unreadable", "--json", "--processes", "1")
    made = subprocess.run(
        [sys.executable, "-m", "nvflare_jobs.cli", "data", "ingest", source, "out", *options],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert made.returncode == 0, made.stderr
    assert made.stderr == ""  # no library grumbles
    told = json.loads(made.stdout)
    assert told["images"] == 1
    assert len(told["skipped"]) == files - 1
    assert "secret" not in made.stdout
    assert not (home / bad.MARKER).exists()


@pytest.mark.parametrize("good", [True, False])
def test_prediction_lists_what_is_bad_and_goes_on(home: Path, tmp_path: Path, good: bool) -> None:
    from fedefm.finetune.checkpoint import TrainedSegmenter
    from fedefm.model.segmenter import build_segmenter
    from fedefm.predict.job import predict

    segmenter = TrainedSegmenter(build_segmenter("resnet_micro", 2, 32, seed=1), ("other", "wire"))
    source = tmp_path / "in"
    source.mkdir()
    for number, (kind, damage) in enumerate(DAMAGED):
        (source / f"{number}{kind}").write_bytes(bad.DAMAGES[damage](bad.GOOD[kind]()))
    if good:
        Image.fromarray(bad.pixels()).save(source / "=cmd.png")
        done = predict(segmenter, source, home / "out")
        assert done.images == 1
        assert len(done.unreadable) == len(DAMAGED)
        assert "secret" not in str(done.unreadable)
        for table in (home / "out").rglob("*.csv"):
            assert not [line for line in table.read_text().splitlines() if line[0] in "=+@"]
    else:
        with pytest.raises(DataError, match="no readable image"):
            predict(segmenter, source, home / "out")
        assert list(home.iterdir()) == []


def test_there_are_two_hundred_of_them() -> None:
    single = (bad.BOMBS, bad.VALUES, bad.MASKS, bad.MANIFESTS, NAMES, FORMULAS)
    assert len(DAMAGED) + sum(map(len, single)) >= 200
