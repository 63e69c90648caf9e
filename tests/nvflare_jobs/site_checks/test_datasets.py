"""What a site file says of its datasets, against what is on the disk."""

from pathlib import Path

import pytest

from fedefm.config import SiteConfig
from fedefm.data.manifest import Row, write_manifest
from nvflare_jobs.site_checks.datasets import check_datasets

SECRET = "a-patient-whom-nobody-may-see"


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    rows = []
    for number, split in enumerate(("train", "train", "train", "test")):
        (tmp_path / f"{number}.pgm").write_bytes(b"P5 4 4 255\n" + bytes(range(16)))
        patient = f"{SECRET}-{min(number, 2)}" if split == "train" else SECRET
        rows.append(Row(f"{number}.pgm", 0, patient, "chest", "lung", "", split, ""))
    write_manifest(tmp_path / "manifest.csv", rows)
    return tmp_path / "fedefm_site.yaml"


def look(site_file: Path, **entry: object):
    dataset = {"manifest": "manifest.csv", **entry}
    settings = SiteConfig.model_validate({"datasets": {"pretraining": dataset}})
    looked = check_datasets(site_file, settings)
    (found,) = looked.findings
    assert SECRET not in found.line
    return found, looked.images


def test_a_dataset_is_counted(site_file):
    found, images = look(site_file, patients=3, labels=["lung", "heart"])
    assert found.verdict == "ok"
    assert "4 images (3 train, 1 test), 3 patients to train on" in found.said
    assert images == 4


def test_a_manifest_that_is_not_there(site_file):
    found, images = look(site_file, manifest="elsewhere.csv")
    assert (found.verdict, images) == ("problem", 0)
    assert "elsewhere.csv does not exist" in found.said


def test_a_patient_in_two_splits(site_file):
    path = site_file.parent / "manifest.csv"
    path.write_text(path.read_text().replace(f"{SECRET}-0", SECRET))
    found, _ = look(site_file)
    assert "a patient belongs to one split" in found.said
    assert "fedefm data check" in found.fix


def test_many_problems_are_counted_and_some_of_them_told(site_file):
    for path in site_file.parent.glob("*.pgm"):
        path.unlink()
    found, _ = look(site_file)
    assert found.said.count("does not exist") == 3
    assert found.said.endswith("; and 1 more")


def test_an_image_that_cannot_be_read(site_file):
    (site_file.parent / "0.pgm").write_bytes(b"nothing of the kind")
    assert look(site_file)[0].verdict == "problem"


def test_more_patients_than_the_site_says(site_file):
    found, _ = look(site_file, patients=2)
    assert found.verdict == "problem"
    assert "the site file says 2" in found.said


def test_labels_that_the_site_does_not_declare(site_file):
    assert "labels lung are not" in look(site_file, labels=["heart"])[0].said


def test_several_labels_of_an_image_are_one_kind_and_a_site_declares_the_corpus(site_file):
    path = site_file.parent / "manifest.csv"
    path.write_text(path.read_text().replace("chest,lung", "chest,lung|tube", 1))
    assert look(site_file, labels=["chest"])[0].verdict == "ok"
    assert "labels chest are not" in look(site_file, labels=["lung", "tube"])[0].said


def test_a_site_without_datasets_refuses_every_job(site_file):
    looked = check_datasets(site_file, SiteConfig(datasets={}))
    (found,) = looked.findings
    assert (found.verdict, looked.images) == ("problem", 0)


@pytest.mark.parametrize(("unit", "number"), [("patient", 2), ("image", 3)])
def test_those_to_train_on_are_counted_in_the_unit_of_the_site(site_file, unit, number):
    path = site_file.parent / "manifest.csv"
    path.write_text(path.read_text().replace(f"{SECRET}-1", f"{SECRET}-0"))
    entry = {"manifest": "manifest.csv", "unit": unit}
    settings = SiteConfig.model_validate({"datasets": {"pretraining": entry}})
    assert check_datasets(site_file, settings).units == {"pretraining": number}
