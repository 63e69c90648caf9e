"""A file that cannot be read is told in one sentence."""

from pathlib import Path
from typing import Any

import pytest

from fedefm.config import read_run, read_site
from fedefm.errors import ConfigError


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no settings"),
        (b"- a\n- b\n", "holds no settings"),
        (b"just words", "holds no settings"),
        (b"federation: {rounds: 3", "is not YAML: "),
        (b"a: b: c", "is not YAML: "),
        (b"!!python/object/apply:os.system ['true']", "is not YAML: "),
        (b"\xff\xfe\x00\x01", "cannot be read: "),
        (b"seed: \x00", "is not YAML: "),
        (b"1: 2", "1 is not a known setting"),
        (b"name: a\nname: b\n", "is not YAML: 'name' stands there twice"),
        (b"policy: {delta: 1.0e-5, delta: 0.1}", "'delta' stands there twice"),
        (b"? [a, b]\n: 1", "is not YAML: "),
        (b"masking:\n# mask_ratio: 0.5\n", "nothing stands behind 'masking'; take the name out"),
        (b"privacy: {dp: }", "nothing stands behind 'dp'"),
    ],
)
@pytest.mark.parametrize("read", [read_run, read_site])
def test_a_file_that_is_no_settings_is_one_sentence(
    tmp_path: Path, content: bytes, words: str, read: Any
) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        read(path)
    assert words in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run file .*none\.yaml does not exist"):
        read_run(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_run(tmp_path)


@pytest.mark.parametrize("nothing", ["null", "~", "Null"])
def test_nothing_may_stand_behind_a_name_where_it_is_written_down(
    tmp_path: Path, nothing: str
) -> None:
    (tmp_path / "run.yaml").write_text(f"name: nothing\nmasking: {nothing}\n")
    assert read_run(tmp_path / "run.yaml").masking is None


@pytest.mark.parametrize(
    ("stages", "words"),
    [("[]", "stagewise.stages has 0 entries and needs at least 1"), ("7", "must be a list")],
)
def test_a_list_that_is_none_or_empty_is_called_so(tmp_path: Path, stages: str, words: str) -> None:
    (tmp_path / "run.yaml").write_text(f"name: x\nstagewise: {{stages: {stages}, tasks: {{}}}}\n")
    with pytest.raises(ConfigError, match=words):
        read_run(tmp_path / "run.yaml")
