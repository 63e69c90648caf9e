"""Stages of different tasks, which all train one encoder (MedUniverse).

Radwan, Osman and Shehata, arXiv 2407.14719. What the paper leaves open is a setting here: how the
server makes the next encoder of those of a stage's sites, and how many rounds a stage has.
"""

from collections.abc import Iterator
from itertools import accumulate
from typing import Literal

from pydantic import Field, model_validator

from fedefm.config.section import Name, Section


class SiteTask(Section):
    """What one site teaches the encoder; the head for it never leaves the site."""

    kind: Literal["classification", "segmentation", "regression"]
    classes: tuple[Name, ...] = ()  # labels; of segmentation the mask values, background first
    lowest: float | None = None  # of regression: the range of the numbers in column label
    highest: float | None = None

    @model_validator(mode="after")
    def _settings_are_of_the_kind(self) -> "SiteTask":
        problems = list(_of_range(self) if self.kind == "regression" else _of_classes(self))
        if problems:
            raise ValueError("; and ".join(problems))
        return self


class Stage(Section):
    """Which sites train together, for how many rounds."""

    sites: tuple[Name, ...] = Field(min_length=1)
    rounds: int = Field(5, ge=1, le=100_000)


class CurationConfig(Section):
    """At a stage's end the server fits the encoder to its sites' mean features of its own images.

    The images are the server's own, without labels, and are sent to the sites of the stage.
    """

    dataset: Name  # as the server's own file calls it
    images: int = Field(64, ge=1, le=10_000)
    steps: int = Field(20, ge=1, le=1_000_000)
    learning_rate: float = Field(0.01, gt=0)


class StagewiseConfig(Section):
    """Stages, and the task of each site."""

    stages: tuple[Stage, ...] = Field(min_length=1)
    tasks: dict[Name, SiteTask]
    eta: float = Field(0.5, gt=0, le=1)  # encoder <- (1 - eta) encoder + eta * the sites' mean
    curation: CurationConfig | None = None

    @model_validator(mode="after")
    def _each_site_has_a_task(self) -> "StagewiseConfig":
        problems = list(_of_sites(self))
        if problems:
            raise ValueError("; and ".join(problems))
        return self

    @property
    def rounds(self) -> int:
        """Of all stages."""
        return sum(stage.rounds for stage in self.stages)

    @property
    def last_rounds(self) -> tuple[int, ...]:
        """The last round of each stage."""
        return tuple(end - 1 for end in accumulate(stage.rounds for stage in self.stages))

    def within(self, round_index: int) -> tuple[int, int]:
        """How many rounds the stage of a round has, and which of them it is, from 0."""
        place = sum(round_index > last for last in self.last_rounds)
        rounds = self.stages[place].rounds
        return rounds, round_index - (self.last_rounds[place] + 1 - rounds)


def _of_range(task: SiteTask) -> Iterator[str]:
    if task.classes:
        yield "a task of regression has numbers and no classes; leave classes out"
    if task.lowest is None or task.highest is None:
        yield (
            "a task of regression needs the range of its numbers, which is not counted from "
            "patients; set lowest and highest"
        )
    elif task.lowest >= task.highest:
        yield f"lowest {task.lowest:g} is not below highest {task.highest:g}; exchange them"


def _of_classes(task: SiteTask) -> Iterator[str]:
    if task.lowest is not None or task.highest is not None:
        yield f"a task of {task.kind} has no range of numbers; leave lowest and highest out"
    if len(task.classes) < 2:
        first = ", the background first" if task.kind == "segmentation" else ""
        yield f"a task of {task.kind} needs two classes at least{first}; name them in classes"
    twice = sorted({name for name in task.classes if task.classes.count(name) > 1})
    if twice:
        yield f"classes named twice: {', '.join(twice)}; each may stand only once"


def _of_sites(config: StagewiseConfig) -> Iterator[str]:
    for number, stage in enumerate(config.stages, start=1):
        for site in sorted({s for s in stage.sites if stage.sites.count(s) > 1}):
            yield f"stage {number} names {site!r} twice; name it once"
        for site in sorted(set(stage.sites) - config.tasks.keys()):
            yield f"stage {number} names {site!r}, which has no task; add it to tasks"
    staged = {site for stage in config.stages for site in stage.sites}
    for site in sorted(config.tasks.keys() - staged):
        yield f"{site!r} has a task and is in no stage; add it to one, or leave its task out"
