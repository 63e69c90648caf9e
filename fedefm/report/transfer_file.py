"""The file in which somebody tells what two starts of fine-tuning came to, for the report.

``fedefm report RUN --transfer FILE`` takes it into the run's folder. It is JSON::

    {"starts": ["masking alone", "after the stages"],
     "unseen": ["isic-skin"],
     "measures": {"chase-db1": "Dice", "isic-skin": "Dice"},
     "scores": [
       {"way": "linear probe", "domain": "chase-db1", "seed": 0, "first": 0.41, "second": 0.45}]}

``way`` is how both starts were used, ``first`` and ``second`` the scores of the two on the same
test images, the larger the better. Domains in ``unseen`` are of neither start.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, model_validator

from fedefm.config.section import Name, Section, read
from fedefm.finetune.paired import Pair
from fedefm.train.run_files import TRANSFER


class Score(Section):
    """Both starts, used in one way on one domain with one seed."""

    way: Name
    domain: Name
    seed: int
    first: float
    second: float


class Transfer(Section):
    """A whole file."""

    starts: tuple[Name, Name]
    measures: dict[Name, Name]  # domain -> what its scores are
    scores: tuple[Score, ...] = Field(min_length=1)
    unseen: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _scores_can_be_paired(self) -> "Transfer":
        problems = list(_problems(self))
        if problems:
            raise ValueError("; and ".join(problems))
        return self

    @property
    def ways(self) -> dict[str, list[Pair]]:
        """The pairs of each way, in the order of the file."""
        found: dict[str, list[Pair]] = {}
        for each in self.scores:
            pair = Pair(each.domain, each.seed, each.first, each.second)
            found.setdefault(each.way, []).append(pair)
        return found


def read_transfer(path: Path) -> Transfer:
    """The file at ``path``. Raises ConfigError with every mistake of it."""
    return read(path, Transfer, "transfer file")


def take_transfer(file: Path, folder: Path) -> None:
    """Put ``file`` into the run's ``folder``, whole, where its report finds it.

    Raises ConfigError where it is no such file; nothing is changed then.
    """
    read_transfer(file)
    target = folder / TRANSFER
    if target.exists() and target.samefile(file):
        return
    part = target.with_name(f"{target.name}.part")
    shutil.copyfile(file, part)
    os.replace(part, target)  # noqa: PTH105 - atomic


def _problems(told: Transfer) -> Iterator[str]:
    keys = [(each.way, each.domain, each.seed) for each in told.scores]
    for way, domain, seed in sorted({key for key in keys if keys.count(key) > 1}):
        yield f"{way!r} of {domain!r} with seed {seed} is told twice; tell it once"
    domains = {each.domain for each in told.scores}
    for domain in sorted(domains - told.measures.keys()):
        yield f"{domain!r} has scores and no measure; add it to measures"
    for domain in sorted(set(told.unseen) - domains):
        yield f"{domain!r} is unseen and has no score; leave it out"
    if len(set(told.starts)) < 2:
        yield f"both starts are called {told.starts[0]!r}; call them differently"
