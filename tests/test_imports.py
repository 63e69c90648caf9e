"""Imports go one way, so that each part can be read, tested and trusted on its own.

The learning code knows no network, the privacy code knows no images, and the FLARE code is a thin
adapter. Imports inside functions count as well.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDERS = ("fedefm", "privacy", "provisioning", "nvflare_jobs")

# What a folder may import from the other three. A name stands for itself and all below it.
MAY_IMPORT = {
    "fedefm": (),
    "privacy": (
        "fedefm.errors",
        "fedefm.words",  # numbers with their nouns, for sentences
        # The protocols that privacy wraps: a trainer with its objective, an exchange with its sum.
        "fedefm.train.trainer",
        "fedefm.train.objective",
        "fedefm.train.optimization",  # what is made of a gradient
        "fedefm.train.exchange",
        "fedefm.train.message",
        "fedefm.train.header",  # of a message, without torch
        "fedefm.train.protection",
        # The two files that a policy compares.
        "fedefm.config",
    ),
    "provisioning": (
        "privacy.policy",
        "fedefm.errors",
        "fedefm.words",  # numbers with their nouns, for sentences
        "fedefm.config",
        # A kit says which versions it is for.
        "fedefm.__version__",
        "fedefm.versions",
    ),
    "nvflare_jobs": ("fedefm", "privacy", "provisioning"),
}

# Libraries that only some modules may know.
KNOWN_ONLY_TO = {
    "nvflare": ("nvflare_jobs", "provisioning.builders"),
    "opacus": ("privacy",),
    "typer": ("nvflare_jobs",),
    "torchvision": (),
}

# Inside fedefm, along the path of the data; a package imports from those before it.
LAYERS = ("data", "topology", "distill", "model", "train", "finetune", "predict", "report")
# At its end a run measures and describes its model with the tools of fine-tuning.
LOOKS_AHEAD = {
    ("fedefm.train.verdict", "fedefm.finetune.evaluate"),
    ("fedefm.train.verdict", "fedefm.finetune.bootstrap"),
    ("fedefm.train.foundation_card", "fedefm.finetune.card"),
}

Import = tuple[str, str, int]  # importing module, imported name, line


def imports_of(source: str, module: str, is_package: bool = False) -> Iterator[Import]:
    """Every import in ``source``; ``from a import b`` counts as ``a.b``."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((module, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            yield from ((module, f"{origin}.{alias.name}", node.lineno) for alias in node.names)


def imports_in_repository() -> Iterator[Import]:
    for folder in FOLDERS:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            module = ".".join(parts[:-1] if is_package else parts)
            yield from imports_of(path.read_text(encoding="utf-8"), module, is_package)


def within(name: str, parents: tuple[str, ...]) -> bool:
    return any(name == parent or name.startswith(parent + ".") for parent in parents)


def crosses_border(module: str, name: str) -> bool:
    importer, imported = module.split(".")[0], name.split(".")[0]
    return imported in FOLDERS and imported != importer and not within(name, MAY_IMPORT[importer])


def knows_what_it_must_not(module: str, name: str) -> bool:
    library = name.split(".")[0]
    return library in KNOWN_ONLY_TO and not within(module, KNOWN_ONLY_TO[library])


def goes_upstream(module: str, name: str) -> bool:
    """Does a module of fedefm import from a package that comes after its own?"""
    if any(module == one and within(name, (other,)) for one, other in LOOKS_AHEAD):
        return False
    here, there = (part.split(".")[:2] for part in (module, name))
    if here[0] != "fedefm" or there[0] != "fedefm" or there[-1] not in LAYERS:
        return False
    return here[-1] not in LAYERS or LAYERS.index(there[-1]) > LAYERS.index(here[-1])


@pytest.mark.parametrize("broken", [crosses_border, knows_what_it_must_not, goes_upstream])
def test_every_import_keeps_the_direction(broken):
    found = [
        f"{module}:{line} imports {name}"
        for module, name, line in imports_in_repository()
        if broken(module, name)
    ]
    assert not found, "\n".join(found)


def test_the_repository_is_really_read():
    modules = {module for module, _, _ in imports_in_repository()}
    assert {module.split(".")[0] for module in modules} >= {"fedefm", "nvflare_jobs"}
    assert {"fedefm." + layer for layer in LAYERS} <= {".".join(m.split(".")[:2]) for m in modules}


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("fedefm.train.site", "import nvflare.apis.fl_context", knows_what_it_must_not),
        ("fedefm.train.site", "from nvflare import apis", knows_what_it_must_not),
        ("provisioning.preflight", "import nvflare", knows_what_it_must_not),
        ("fedefm.model.vit", "from opacus import PrivacyEngine", knows_what_it_must_not),
        ("fedefm.data.transforms", "import torchvision", knows_what_it_must_not),
        ("fedefm.train.site", "def f():\n    from privacy import ledger", crosses_border),
        ("fedefm.train.site", "from nvflare_jobs.cli import app", crosses_border),
        ("privacy.gate", "from fedefm.data.readers import read_image", crosses_border),
        ("privacy.gate", "from fedefm import data", crosses_border),
        ("privacy.gate", "from fedefm.train.trainers import x", crosses_border),
        ("provisioning.kit", "from privacy.ledger import Ledger", crosses_border),
        ("provisioning.kit", "from nvflare_jobs import cli", crosses_border),
        ("fedefm.data.dataset", "from fedefm.train.trainer import Trainer", goes_upstream),
        ("fedefm.data.dataset", "from ..train import trainer", goes_upstream),
        ("fedefm.seeding", "from fedefm.data.dataset import Batch", goes_upstream),
    ],
)
def test_a_wrong_import_is_found(module, line, broken):
    assert any(broken(here, name) for here, name, _ in imports_of(line, module))


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("provisioning.builders", "from nvflare.lighter import spec"),
        ("privacy.dp.trainer", "from fedefm.train.trainer import FitStats"),
        ("privacy.dp.trainer", "from opacus.grad_sample import GradSampleModule"),
        ("provisioning.site_file", "from privacy.policy import Policy"),
        ("nvflare_jobs.cli", "import privacy.ledger"),
        ("fedefm.train.site", "from fedefm.data.dataset import Batch"),
        ("fedefm.train.rounds.gossip", "from ..exchange import Exchange"),
        ("fedefm.report.run_report", "from fedefm import __version__"),
    ],
)
def test_a_right_import_passes(module, line):
    for here, name, _ in imports_of(line, module):
        assert not crosses_border(here, name)
        assert not knows_what_it_must_not(here, name)
        assert not goes_upstream(here, name)
