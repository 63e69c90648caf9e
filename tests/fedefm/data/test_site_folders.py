import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fedefm.config import read_site
from fedefm.data.check import check_manifest
from fedefm.data.corpora import split_corpora
from fedefm.data.holdings import holdings, holdings_table, holdings_text
from fedefm.data.kinds import kinds_of
from fedefm.data.manifest import Manifest, Row, read_manifest
from fedefm.data.site_folders import write_sites
from fedefm.errors import DataError

MakeManifest = Callable[..., Manifest]
MakeRows = Callable[[Sequence[str], int, int], list[Row]]


@pytest.fixture
def sources(make_manifest: MakeManifest, corpora_rows: MakeRows) -> list[Manifest]:
    first = [replace(row, mask_path=f"m/{row.path}") for row in corpora_rows("ab", 4, 2)]
    return [make_manifest(first, "one"), make_manifest(corpora_rows(["c", "ö"], 4, 1), "two")]


def test_each_site_gets_a_folder_that_stands_alone(sources: list[Manifest], tmp_path: Path) -> None:
    done = split_corpora(sources, 2, 1.0, 1)
    write_sites(done, sources, tmp_path / "sites", ["pretraining", "segmentation"])
    for site in done.sites:
        folder = tmp_path / "sites" / site
        settings = read_site(folder / "fedefm_site.yaml")
        assert set(settings.datasets) == {"pretraining", "segmentation"}
        assert len({entry.budget for entry in settings.datasets.values()}) == 1  # same patients
        assert settings.ledger is not None
        manifest = read_manifest(folder / settings.datasets["pretraining"].manifest)
        assert check_manifest(manifest) == []
        assert kinds_of(manifest.rows) == [held.kind for held in done.held[site]]
        for row, held in zip(manifest.rows, done.held[site], strict=True):
            original = sources[held.source].folder / held.row.path
            assert (folder / row.path).samefile(original)  # no second copy of the images
    assert json.loads((tmp_path / "sites" / "holdings.json").read_text()) == holdings(done)


def test_the_labels_that_a_site_was_dealt_stand_in_its_file(
    sources: list[Manifest], tmp_path: Path
) -> None:
    done = split_corpora(sources, 2, 0.5, 1)
    write_sites(done, sources, tmp_path / "sites")
    for site in done.sites:
        entry = read_site(tmp_path / "sites" / site / "fedefm_site.yaml").datasets["pretraining"]
        assert set(entry.labels or ()) == {*done.private[site], *done.common}


def test_a_file_of_many_frames_is_placed_once(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    np.save(tmp_path / "set" / "stack.npy", np.zeros((6, 5, 5), np.uint8))
    rows = tuple(Row("stack.npy", i, f"p{i // 2}", "angio") for i in range(6))
    source = Manifest(tmp_path / "set", rows)
    write_sites(split_corpora([source], 1, 0.0, 1), [source], tmp_path / "sites")
    site = tmp_path / "sites" / "site-1"
    assert sorted(path.name for path in site.iterdir()) == [
        "fedefm_site.yaml",
        "manifest.csv",
        "stack.npy",
    ]
    assert [row.frame for row in read_manifest(site / "manifest.csv").rows] == list(range(6))


def test_what_is_there_stays_and_nothing_is_half_written(
    sources: list[Manifest], tmp_path: Path
) -> None:
    done = split_corpora(sources, 2, 1.0, 1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(DataError, match="not empty"):
        write_sites(done, sources, tmp_path / "full")
    (sources[0].folder / sources[0].rows[-1].path).unlink()
    with pytest.raises(DataError, match="cannot be written"):
        write_sites(done, sources, tmp_path / "sites")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "one", "two"]


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden"])
def test_site_names_that_are_no_folders_are_refused(
    sources: list[Manifest], tmp_path: Path, name: str
) -> None:
    done = split_corpora(sources, [name, "b"], 1.0, 1)
    with pytest.raises(DataError, match="cannot be a folder"):
        write_sites(done, sources, tmp_path / "sites")


def test_a_dataset_that_no_run_file_could_name_is_refused(
    sources: list[Manifest], tmp_path: Path
) -> None:
    done = split_corpora(sources, ["a", "b"], 1.0, 1)
    with pytest.raises(DataError, match="is no name of a dataset"):
        write_sites(done, sources, tmp_path / "sites", ["../up"])
    assert not (tmp_path / "sites").exists()


def test_the_report_counts_everything_and_names_nobody(sources: list[Manifest]) -> None:
    done = split_corpora(sources, 2, 0.5, 1)
    report = holdings(done)
    counted = [c for site in report["sites"].values() for c in site["labels"].values()]
    total = sum(count[split] for count in counted for split in ("train", "validation", "test"))
    assert total == sum(map(len, done.held.values())) == 24
    assert sum(count["patients"] for count in counted) == 16
    console = Console(record=True, width=200)
    console.print(holdings_table(done))
    for text in (json.dumps(report), "\n".join(holdings_text(done)), console.export_text()):
        assert "patient-" not in text
        for site in done.sites:
            assert site in text
