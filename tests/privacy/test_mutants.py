"""Every way to break a privacy promise that we could think of makes a test fail."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.privacy.mutants import MUTANTS
from tests.privacy.mutation import PACKAGE, Broken, Edit, Laboratory, Mutant, apply

NAMED = [pytest.param(mutant, id=mutant.name.replace(" ", "-")) for mutant in MUTANTS]
CAUGHT = "dp/test_gradients.py::test_a_frozen_model_has_nothing_to_train"


@pytest.fixture(scope="module")
def laboratory() -> Iterator[Laboratory]:
    with Laboratory() as opened:
        yield opened


@pytest.mark.parametrize("mutant", NAMED)
def test_every_edit_still_fits_the_source(mutant: Mutant, tmp_path: Path) -> None:
    for edit in mutant.edits:
        path = tmp_path / edit.file
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text((PACKAGE / edit.file).read_text())
        apply(edit, tmp_path)


def test_mutants_have_names_of_their_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", NAMED)
def test_a_mutant_is_caught(mutant: Mutant, laboratory: Laboratory) -> None:
    assert laboratory.caught_by(mutant)


@pytest.mark.slow
def test_without_a_mutant_the_same_tests_pass(laboratory: Laboratory) -> None:
    outcome = laboratory.control(sorted({test for mutant in MUTANTS for test in mutant.tests}))
    assert outcome.failed == ()
    assert len(outcome.ran) > 100


@pytest.mark.parametrize(
    "edit",
    [
        Edit("dp/gradients.py", "no such line", ""),
        Edit("dp/gradients.py", "return", "yield"),
        Edit("dp/no_such_file.py", "x", "y"),
    ],
)
def test_an_edit_that_does_not_fit_once_proves_nothing(edit: Edit, laboratory: Laboratory) -> None:
    with pytest.raises(Broken):
        laboratory.caught_by(Mutant("misfit", (edit,), (CAUGHT,)))


def test_a_failing_import_is_no_catch(laboratory: Laboratory) -> None:
    edit = Edit("dp/gradients.py", "import torch\n", "import no_such_module\nimport torch\n")
    with pytest.raises(Broken):
        laboratory.caught_by(Mutant("misfit", (edit,), (CAUGHT,)))


def test_a_change_that_no_test_imports_proves_nothing(laboratory: Laboratory) -> None:
    edit = Edit("gate.py", 'PREFIX = "dp:"', 'PREFIX = "no:"')
    with pytest.raises(Broken, match=r"never import privacy/gate\.py"):
        laboratory.caught_by(Mutant("misfit", (edit,), (CAUGHT,)))


def test_a_harmless_change_survives_and_a_harmful_one_does_not(laboratory: Laboratory) -> None:
    old = "    found = {name: p for name, p in model.named_parameters() if p.requires_grad}\n"
    harmless = Edit("dp/gradients.py", old, f"{old}    found = dict(found)\n")
    harmful = Edit("dp/gradients.py", old, old.replace(" if p.requires_grad", ""))
    assert laboratory.caught_by(Mutant("harmless", (harmless,), (CAUGHT,))) == ()
    assert laboratory.caught_by(Mutant("harmful", (harmful,), (CAUGHT,)))
