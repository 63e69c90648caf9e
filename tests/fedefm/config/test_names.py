"""What a run file names is known before anything slow is loaded."""

import subprocess
import sys

import pytest

from fedefm.config import RunConfig, SiteConfig, parse
from fedefm.config.names import BACKBONE_NAMES, PATCHES
from fedefm.errors import ConfigError
from fedefm.model.foundation import BACKBONES
from fedefm.model.vit import VIT_SIZES

PATHS = ("/etc/passwd", "../../images", "..", ".hidden", "C:\\images", "a/b", "~", "", "a b", "a\n")


def test_every_backbone_may_be_named_and_none_that_is_not_built() -> None:
    assert BACKBONE_NAMES == BACKBONES


@pytest.mark.parametrize("name", ["/tmp/evil.py", "os.system", "alexnet", ""])
def test_an_unknown_backbone_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse({"model": {"backbone": name}}, RunConfig, "run file")
    assert f"model.backbone: {name!r} is unknown; choose one of vit_micro" in str(refused.value)


def test_the_patches_are_those_of_the_networks() -> None:
    assert {name: size.patch for name, size in VIT_SIZES.items()} == PATCHES


@pytest.mark.parametrize(
    ("backbone", "pixels", "words"),
    [
        ("vit_micro", 20, "image_size 20 is not a multiple of the patch of vit_micro, 8 pixels"),
        ("vit_base", 17, "use 16, for example"),
    ],
)
def test_images_that_a_backbone_cannot_take_are_refused(
    backbone: str, pixels: int, words: str
) -> None:
    model = {"backbone": backbone, "image_size": pixels}
    with pytest.raises(ConfigError, match=words):
        parse({"model": model}, RunConfig, "run file")
    assert parse({"model": {**model, "backbone": "resnet10"}}, RunConfig, "run file").model


@pytest.mark.parametrize("name", PATHS)
def test_a_dataset_is_named_and_never_a_path(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse({"dataset": name}, RunConfig, "run file")
    assert f"dataset: {name!r} is no name of a dataset" in str(refused.value)


@pytest.mark.parametrize("name", ["pretraining", "chase-db1", "ct_2024.v2", "3d", "Röntgen"])
def test_sites_and_runs_call_a_dataset_the_same(name: str) -> None:
    assert parse({"dataset": name}, RunConfig, "run file").dataset == name
    site = {"datasets": {name: {"manifest": "m.csv"}}}
    assert name in parse(site, SiteConfig, "site file").datasets


def test_a_site_is_told_of_a_dataset_that_no_run_could_name() -> None:
    site = {"datasets": {"chest x-rays": {"manifest": "m.csv"}}}
    with pytest.raises(ConfigError, match="datasets: 'chest x-rays' is no name of a dataset"):
        parse(site, SiteConfig, "site file")


def test_a_run_file_is_checked_without_torch() -> None:
    code = "import sys, fedefm.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
