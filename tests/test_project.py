"""The frame of the project: what the README shows exists, what is installed is pinned."""

import re
import shlex
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.main import get_command

from fedefm.config import read_run
from nvflare_jobs.cli import app

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *REPOSITORY.glob("docs/*.md")]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def pins(python: str) -> dict[str, str]:
    """Project name to version, as ``constraints.txt`` sets it for one Python."""
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    environment = {"python_version": python}
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in wanted
        if pin.marker is None or pin.marker.evaluate(environment)
    }


def declared() -> list[Requirement]:
    """What ``pyproject.toml`` asks for, extras included."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(text) for texts in [project["dependencies"], *extras] for text in texts]


@pytest.mark.parametrize("python", PYTHONS)
def test_every_declared_dependency_is_pinned_within_its_bounds(python):
    versions = pins(python)
    wrong = [
        str(requirement)
        for requirement in declared()
        if canonicalize_name(requirement.name) not in versions
        or versions[canonicalize_name(requirement.name)] not in requirement.specifier
    ]
    assert not wrong


def test_links_between_the_pages_lead_somewhere():
    missing = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"(?:\]\(|src=\")([^)\"#]+)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not missing


def test_make_targets_in_the_pages_exist():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    named = {
        name
        for page in PAGES
        for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.M)
    }
    assert {"demo", "test"} <= named <= targets


def commands_in_the_pages() -> list[str]:
    blocks = [
        block
        for page in PAGES
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    ]
    lines = [line for block in blocks for line in block.replace("\\\n", "").splitlines()]
    return [line.removeprefix("fedefm ") for line in lines if line.startswith("fedefm ")]


@pytest.mark.parametrize("line", commands_in_the_pages())
def test_commands_in_the_pages_are_understood(line):
    """Names, options and values are checked as on the command line; nothing is run."""
    command = get_command(app)
    words = shlex.split(line, comments=True)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)


def test_the_pages_show_the_commands_that_matter():
    shown = {line.split()[0] for line in commands_in_the_pages()}
    assert shown >= {"data", "run", "finetune", "evaluate", "predict"}


@pytest.mark.parametrize(
    "example", sorted(REPOSITORY.glob("examples/*.yaml")), ids=lambda p: p.name
)
def test_examples_can_be_read(example):
    read_run(example)


def test_run_files_in_the_pages_can_be_read(tmp_path):
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for block in re.findall(r"```yaml\n(.*?)```", pages, re.S):
        (tmp_path / "run.yaml").write_text(block, encoding="utf-8")
        read_run(tmp_path / "run.yaml")


def test_files_named_in_the_architecture_exist():
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    files = [f"/{path.relative_to(REPOSITORY)}" for path in REPOSITORY.glob("[a-z]*/**/*.py")]
    named = set(re.findall(r"`([a-z_/]+\.py)`", page))
    assert named
    assert [name for name in sorted(named) if not any(f.endswith(f"/{name}") for f in files)] == []
