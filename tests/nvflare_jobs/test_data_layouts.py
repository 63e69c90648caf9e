"""`fedefm data layouts` and `fedefm data convert-list` as a person meets them."""

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fedefm.data.choices import LAYOUT_NAMES
from fedefm.data.manifest import read_manifest
from nvflare_jobs import cli

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the console script on ``fedefm data ...``: exit code, output, errors."""

    def command(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fedefm", "data", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return command


def test_every_layout_is_listed_with_where_it_is_had_and_on_which_terms(run: Run) -> None:
    code, out, _ = run("layouts")
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines() if line[0] != " "] == [*LAYOUT_NAMES]
    assert "terms CC BY-NC-SA" in out
    assert "masks 1 = tube, drawn from its polyline" in out
    assert "https://zenodo.org/records/10390295" in out


def test_scripts_get_the_same_as_json(run: Run) -> None:
    code, out, _ = run("layouts", "--json")
    assert code == 0
    listed = json.loads(out)["layouts"]
    assert [one["name"] for one in listed] == [*LAYOUT_NAMES]
    assert all(one.keys() == {"name", "what", "where", "terms", "masks"} for one in listed)


@pytest.fixture
def old_list(tmp_path: Path) -> Path:
    """A pickled list of two images, beside the images."""
    for name in ("chest/1.png", "chest/2.png"):
        (tmp_path / "med" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((8, 8), 50).save(tmp_path / "med" / name)
    entries = [("chest/1.png", 0), ("chest/2.png", 3)]
    (tmp_path / "silo1.pkl").write_bytes(pickle.dumps(entries))
    return tmp_path / "silo1.pkl"


def test_an_old_list_comes_through_to_a_manifest(run: Run, tmp_path: Path, old_list: Path) -> None:
    new = tmp_path / "med" / "silo1.csv"
    code, out, _ = run("convert-list", old_list, new)
    assert (code, out) == (0, f"wrote {new}: 2 images, 2 labels\n")
    code, out, _ = run("ingest", new, tmp_path / "out", "--json")
    assert code == 0
    assert json.loads(out)["layout"] == "list"
    rows = read_manifest(tmp_path / "out" / "manifest.csv").rows
    assert [(row.corpus, row.label) for row in rows] == [("silo1", "0"), ("silo1", "3")]


def test_a_converted_list_is_told_to_scripts(run: Run, tmp_path: Path, old_list: Path) -> None:
    code, out, _ = run("convert-list", old_list, tmp_path / "a.csv", "--json")
    assert code == 0
    assert json.loads(out) == {"list": str(tmp_path / "a.csv"), "images": 2, "labels": 2}


def test_a_pickle_that_runs_code_is_one_sentence_and_no_file(run: Run, tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    (tmp_path / "evil.pkl").write_bytes(f"cposix\nsystem\n(S'touch {mark}'\ntR.".encode())
    code, out, err = run("convert-list", tmp_path / "evil.pkl", tmp_path / "a.csv")
    assert (code, out) == (2, "")
    assert err.startswith("fedefm: ")
    assert "asks for GLOBAL" in err
    assert err.count("\n") == 1
    assert not mark.exists()
    assert not (tmp_path / "a.csv").exists()


def test_a_list_of_files_elsewhere_is_one_sentence(run: Run, tmp_path: Path) -> None:
    (tmp_path / "med").mkdir()
    (tmp_path / "Miller.png").write_bytes(b"x")
    (tmp_path / "med" / "a.csv").write_text("path,label\n../Miller.png,1\n")
    code, _, err = run("ingest", tmp_path / "med" / "a.csv", tmp_path / "out")
    assert code == 2
    assert "row 2 names a file that is not inside" in err
    assert "Miller" not in err
    assert not (tmp_path / "out").exists()
