"""docs/hospital-it.md and docs/data-scientist.md: every command is one that something executes.

`make federation` is asked what it would type, for the names on the pages. The few commands that it
does not need are listed with the test that runs them, and that test must name the command.
"""

import configparser
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from fedefm.config import SiteConfig, parse, read_run

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPT = REPOSITORY / "examples" / "loopback" / "federation.sh"
GUIDES = {name: REPOSITORY / "docs" / name for name in ("hospital-it.md", "data-scientist.md")}
SITES = "St-Marys-Hospital,Dr-Weber-Clinic,North-General-Hosp,Univ-Hospital-East"
ON_THE_PAGES = {"SERVER": "hub.example.org", "PORT": "8002"}

LOOPBACK, CONSOLE = "tests/flare/loopback.py", "tests/flare/test_console.py"
FROM_HERE = "tests/flare/test_jobs_from_here.py"
TUNING = "tests/nvflare_jobs/test_finetune_commands.py"
PAINTING = "tests/nvflare_jobs/test_autoencoders.py"
STAGING = "tests/nvflare_jobs/test_stagewise.py"
ANGLES = "tests/nvflare_jobs/test_angle_of_progression.py"
EFFICIENCY = "tests/nvflare_jobs/test_label_efficiency.py"
PAINTED = "tests/nvflare_jobs/test_autoencoder_commands.py"

# Command on a page -> the test that runs it, and how it is written there.
ELSEWHERE = {
    "make install": (".ci/run", "make test"),
    "export PATH=$PWD/.venv/bin:$PATH": ("Makefile", 'PATH="$(CURDIR)/$(BIN):$$PATH"'),
    "fedefm data ingest /export/angio images --patient-pattern '^([^/]+)/'": (
        "tests/nvflare_jobs/test_data_commands.py",
        '"ingest"',
    ),
    f"fedefm job export catheters.yaml jobs --sites {SITES}": (LOOPBACK, '"export",'),
    f"fedefm run catheters.yaml --where prod --sites {SITES} --out runs/catheters": (
        CONSOLE,
        '"--where", "prod"',
    ),
    f"fedefm run catheters.yaml --where prod --sites {SITES} --out runs/catheters --resume": (
        FROM_HERE,
        '"--resume"',
    ),
    "fedefm run examples/ultrafedfm.yaml --sites sites --out runs/ultrafedfm": (
        PAINTING,
        "examples/ultrafedfm.yaml",
    ),
    "fedefm data check MANIFEST --unlabeled": (
        "tests/nvflare_jobs/test_data_commands.py",
        '"--unlabeled"',
    ),
    "fedefm run examples/meduniverse.yaml --sites sites --out runs/meduniverse": (
        STAGING,
        "examples/meduniverse.yaml",
    ),
    "fedefm evaluate runs/ultrafedfm/model.safetensors sites": (
        PAINTED,
        '"evaluate", trained / "model.safetensors", four_hospitals',
    ),
    "fedefm finetune breast/manifest.csv --task diagnosis --from runs/breast/model.safetensors "
    "--optimizer adamw --weight-decay 0.05 --layer-decay 0.75 --drop-path 0.1 --schedule cosine "
    "--warmup-steps 30 --out diagnosis": (TUNING, '"--task", "diagnosis"'),
    "fedefm finetune breast/manifest.csv --task diagnosis --from runs/breast/model.safetensors "
    "--train-last 0 --out probe": (TUNING, '"--train-last", 0'),
    "fedefm evaluate diagnosis/model.safetensors breast/manifest.csv": (
        TUNING,
        '"evaluate", model, breasts',
    ),
    "fedefm finetune thyroid/manifest.csv --classes background,nodule --from "
    "runs/ultrafedfm/model.safetensors --scan-mode linear --convert 0.5 --out nodules": (
        TUNING,
        '"--scan-mode", "linear", "--convert", 0.5',
    ),
    "fedefm finetune births/manifest.csv --classes background,pubic_symphysis,fetal_head --from "
    "runs/ultrafedfm/model.safetensors --image-size 256 --learning-rate 0.01 --schedule cosine "
    "--warmup-steps 30 --out births-marked": (ANGLES, '"finetune", births'),
    "fedefm evaluate births-marked/model.safetensors births/manifest.csv": (
        ANGLES,
        '"evaluate", model, births',
    ),
    "for share in 0.01 0.05 0.1 0.2 1; do fedefm finetune lesions/manifest.csv --classes "
    "background,lesion --from runs/ultrafedfm/model.safetensors --label-fraction $share --seed 1 "
    "--out labels/$share; done": (EFFICIENCY, '"for share in'),
    "fedefm report runs/catheters runs/dense --out both.html": (
        "tests/nvflare_jobs/test_report_command.py",
        '"both.html"',
    ),
    "fedefm report runs/meduniverse --transfer transfer.json": (
        "tests/nvflare_jobs/test_report_command.py",
        '"--transfer", str(told)',
    ),
    "fedefm job abort JOB": (FROM_HERE, '"job", "abort"'),
    "nvflare config add lead kit": (LOOPBACK, '"config", "add"'),
    "nvflare config use lead": (LOOPBACK, '"config", "use"'),
    "nvflare job submit -j jobs/catheters": (LOOPBACK, '"job", "submit", "-j"'),
    "nvflare job wait JOB": (CONSOLE, '"job", "wait"'),
    "nvflare job download JOB -o results": (LOOPBACK, '"job", "download", job, "-o"'),
    "bash kit/startup/fl_admin.sh": (CONSOLE, '"startup" / "fl_admin.sh"'),
}


def text_of(guide: str) -> str:
    return GUIDES[guide].read_text(encoding="utf-8")


def blocks(guide: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", text_of(guide), re.S)


def commands(guide: str) -> list[str]:
    """The lines of the shell blocks, and what stands between backquotes and begins like one."""
    lines = [line for block in blocks(guide, "bash") for line in block.splitlines() if line]
    prose = re.sub(r"```.*?```", "", text_of(guide), flags=re.S)
    spoken = re.findall(r"`((?:fedefm|nvflare|bash) [^`]+)`", prose)
    return [*lines, *spoken]


def plain(line: str) -> str:
    """The same words however they are quoted; a job is called JOB."""
    line = line.replace('"$JOB"', "JOB").replace("$JOB", "JOB")
    return shlex.join(shlex.split(line))


def typed() -> set[str]:
    """All that `make federation` types."""
    told = subprocess.run(
        ["bash", str(SCRIPT), "--dry-run"],
        env={**os.environ, **ON_THE_PAGES},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {plain(line.removeprefix("$ ")) for line in told.splitlines() if line.startswith("$ ")}


@pytest.mark.parametrize("guide", GUIDES)
def test_every_command_of_a_guide_is_executed_somewhere(guide: str) -> None:
    known = typed() | {plain(line) for line in ELSEWHERE}
    assert [line for line in commands(guide) if plain(line) not in known] == []


def test_the_tests_that_are_said_to_run_a_command_name_it() -> None:
    wrong = [
        f"{place} for {command}"
        for command, (place, words) in ELSEWHERE.items()
        if words not in (REPOSITORY / place).read_text(encoding="utf-8")
    ]
    assert wrong == []


def test_no_command_is_listed_that_no_guide_shows() -> None:
    shown = {plain(line) for guide in GUIDES for line in commands(guide)}
    assert {line for line in ELSEWHERE if plain(line) not in shown} == set()


def test_the_site_file_and_the_run_file_of_the_guides_are_those_of_the_federation() -> None:
    (site_file,) = blocks("hospital-it.md", "text")
    parse(yaml.safe_load(site_file), SiteConfig, "page")
    written = SCRIPT.read_text(encoding="utf-8")
    for line in site_file.splitlines():
        setting = line.split("#")[0].rstrip()
        assert setting in written, f"{setting!r} is not what the federation's hospitals write"
    (run_file,) = blocks("data-scientist.md", "yaml")
    ours = yaml.safe_load(run_file)
    whole = read_run(SCRIPT.with_name("catheters.yaml"))
    assert parse({**ours, "model": whole.model.model_dump()}, type(whole), "page").privacy == (
        whole.privacy
    )


def test_what_is_red_in_the_guides_is_what_somebody_says() -> None:
    """The words in the first column of the tables stand in our code, or in FLARE's."""
    import nvflare

    flare = Path(nvflare.__file__).parent
    files = [
        *(f for top in ("fedefm", "privacy", "provisioning", "nvflare_jobs")
          for f in (REPOSITORY / top).rglob("*.py")),
        flare / "lighter" / "templates" / "master_template.yml",
        flare / "fuel" / "hci" / "server" / "authz.py",
        flare / "tool" / "cli_errors.py",
    ]  # fmt: skip
    code = "".join(path.read_text(encoding="utf-8") for path in files)
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # sentences that go over several lines
    (grpc,) = (Path(nvflare.__file__).parent.parent / "grpc" / "_cython").glob("cygrpc*.so")
    code += grpc.read_bytes().decode("latin-1")  # whose words FLARE's server logs
    said = [
        words
        for guide in GUIDES
        for row in re.findall(r"^\| (.*?) \|", red_of(guide), re.M)
        for words in re.findall(r"`([^`]+)`", row)
    ]
    assert len(said) > 12
    assert [words for words in said if words not in code] == []


def red_of(guide: str) -> str:
    return text_of(guide).split("\n## When ")[1]


def test_the_service_starts_a_script_that_kits_have_and_that_stays_in_the_foreground() -> None:
    (unit,) = blocks("hospital-it.md", "ini")
    service = configparser.ConfigParser(interpolation=None)
    service.optionxform = str  # type: ignore[assignment, method-assign]
    service.read_string(unit)
    shell, script = shlex.split(service["Service"]["ExecStart"])
    assert (shell, Path(script).name) == ("/bin/bash", "sub_start.sh")
    assert '"startup" / "sub_start.sh"' in (
        REPOSITORY / "tests" / "flare" / "loopback.py"
    ).read_text(encoding="utf-8")
