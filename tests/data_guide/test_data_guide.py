"""docs/data.md: every command is run, in the order of the page, and prints what the page shows.

The page leaves out what differs from place to place: hashes (shortened), how far an interrupted
command had come, and the progress of commands, which is a bar on a terminal. Keys are drawn here
in a fixed order: pseudonyms, and who is drawn into which split, follow from them.
"""

import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedefm.data import ingest
from fedefm.data.manifest import read_manifest
from fedefm.data.pseudonyms import KEY_BYTES
from nvflare_jobs import cli
from nvflare_jobs.commands import data_ingest
from nvflare_jobs.commands.data_ingest import INTERRUPTED

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "data.md"
PRIVATE = (".pseudonym_key", ".sources.csv")
INTERRUPT_AT = 20  # frames

pytestmark = pytest.mark.xdist_group("data guide")  # the page is followed once

# How a command ends, where that is not with 0.
ENDINGS = {
    "fedefm data ingest export data/angio --corpus angio": 2,
    "fedefm data ingest export data/angio --corpus angio --show-paths": 2,
    "fedefm data ingest export data/angio --corpus angio --skip-unreadable"
    " --frames-per-second 5": INTERRUPTED,
    "fedefm data check data/frames/manifest.csv --classes background,catheter": 2,
}


@dataclass(frozen=True)
class Step:
    """Commands that are typed one after the other, and what the page says that they print."""

    commands: tuple[str, ...]
    kind: str  # text or json
    shown: str


def steps() -> list[Step]:
    fences = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    return [
        Step(tuple(block.splitlines()), *after)
        for (kind, block), after in pairwise(fences)
        if kind == "bash"
    ]


STEPS = steps()


@contextmanager
def ctrl_c(after: int) -> Iterator[None]:
    """While this lasts, somebody presses Ctrl-C when so many frames are done."""

    @contextmanager
    def progress_of(title: str, quiet: bool = False) -> Iterator[object]:
        def progress(done: int, total: int) -> None:
            if done >= after:
                raise KeyboardInterrupt

        yield progress

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_ingest, "progress_of", progress_of)
        yield


def typed(command: str) -> tuple[str, int]:
    """What a command prints on both of its outputs, and its exit code."""
    words = shlex.split(command)
    if words[0] != "fedefm":
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, env={"LC_ALL": "C"}
        )
        return done.stdout + done.stderr, done.returncode
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(printed):
        patch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return printed.getvalue(), int(ended.value.code or 0)


@contextmanager
def known_keys() -> Iterator[None]:
    """While this lasts, every new key is another one, and the same in the next run."""
    keys = (bytes([number]) * KEY_BYTES for number in count(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "new_key", lambda: next(keys))
        yield


@pytest.fixture(scope="module")
def printed(workplace: Path) -> dict[Step, str]:
    """All that each step prints. A step that ends otherwise than it should ends the test."""
    with known_keys():
        return {step: "".join(map(checked, step.commands)) for step in STEPS}


def checked(command: str) -> str:
    """What a command prints, where it ends as it should."""
    code = ENDINGS.get(command, 0)
    with ctrl_c(INTERRUPT_AT) if code == INTERRUPTED else nullcontext():
        output, ended = typed(command)
    assert ended == code, f"{command}: {output}"
    return output


def masked(text: str) -> str:
    """Without what differs from place to place."""
    for varying, word in (
        (r"(?m)^(reading|checking|drawing|simulating): \d+ of \d+\n", ""),
        (r"\b[0-9a-f]{64}\b|\b[0-9a-f]{8}…", "SHA256"),
        (r"interrupted after \d+ of", "interrupted after some of"),
    ):
        text = re.sub(varying, word, text)
    return text


def pattern(shown: str) -> str:
    """A line of three dots stands for any lines."""
    lines = (re.escape(line) for line in masked(shown).splitlines(keepends=True))
    return "".join(r"(?:.*\n)*" if line == r"\.\.\." + "\\\n" else line for line in lines)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.commands[0])
def test_commands_print_what_the_page_shows(step: Step, printed: dict[Step, str]) -> None:
    told = printed[step]
    if step.kind == "json":
        assert json.loads(told) == json.loads(step.shown)
    elif not re.fullmatch(pattern(step.shown), masked(told)):
        assert masked(told) == masked(step.shown)  # pytest shows the difference


def test_every_command_of_fedefm_data_is_on_the_page() -> None:
    from typer.main import get_command

    data = get_command(cli.app).commands["data"]  # type: ignore[attr-defined]
    shown = {line.split()[2] for s in STEPS for line in s.commands if line.startswith("fedefm")}
    assert shown == set(data.commands)


def test_nobody_is_named_but_in_the_two_private_files(
    printed: dict[Step, str], workplace: Path, identifying: list[str]
) -> None:
    made = [*workplace.glob("data/**/*"), *workplace.glob("sites/**/*")]
    told = "".join(str(path.relative_to(workplace)) for path in made)
    for path in made:
        if path.is_file() and path.name not in PRIVATE:
            told += path.read_bytes().decode("latin-1")
    told += "".join(
        output
        for step, output in printed.items()
        if not any(
            line.endswith("--show-paths") or line.startswith("ls export") for line in step.commands
        )
    )
    assert [word for word in identifying if word in told] == []
    sources = (workplace / "data" / "angio" / ".sources.csv").read_text()
    assert "MILLER_ANNA_19480312" in sources  # the search would find somebody
    for folder in workplace.glob("data/*/.pseudonym_key"):
        for private in PRIVATE:
            assert folder.with_name(private).stat().st_mode & 0o777 == 0o600


def test_the_key_gives_people_the_same_pseudonyms(
    printed: dict[Step, str], workplace: Path
) -> None:
    people = {
        name: {
            row.patient_id for row in read_manifest(workplace / "data" / name / "manifest.csv").rows
        }
        for name in ("angio", "echo", "echo-all")
    }
    assert len(people["echo-all"]) == 2
    assert people["echo-all"] < people["angio"]
    assert not people["echo"] & people["angio"]  # by a key of its own


def test_the_picture_on_the_page_is_the_sheet_that_the_commands_draw(
    printed: dict[Step, str], workplace: Path
) -> None:
    drawn = Image.open(workplace / "stills.png").convert("RGB")
    shown = Image.open(REPOSITORY / "docs" / "images" / "contact_sheet.png").convert("RGB")
    assert drawn.size == shown.size
    off = np.abs(np.asarray(drawn, float) - np.asarray(shown, float)).mean()
    assert off < 5  # gray levels of 255: fonts and libraries differ a little


def test_what_is_red_on_the_page_is_what_the_code_says() -> None:
    code = "".join(
        path.read_text(encoding="utf-8")
        for top in ("fedefm", "nvflare_jobs")
        for path in (REPOSITORY / top).rglob("*.py")
    )
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # sentences that go over several lines
    table = PAGE.read_text(encoding="utf-8").split("\n## When it says no")[1]
    said = re.findall(r"^\| `([^`]+)`", table, re.M)
    assert len(said) > 8
    assert [words for words in said if words not in code] == []
