"""The tables of the MedUniverse benchmark as Markdown, with the numbers of the report."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from fedefm.config.section import parse
from fedefm.finetune.paired import compare
from fedefm.report.transfer import meaning, table
from fedefm.report.transfer_file import Transfer

Rows = Sequence[Mapping[str, Any]]


def markdown(transfer: dict[str, Any], staged: Rows, stage_of: Mapping[str, int | None]) -> str:
    """Both starts, way by way; then every task after every stage, by eta and curation."""
    told = parse(transfer, Transfer, "transfer")
    parts = []
    for way, outcomes in compare(told.ways).items():
        heads = ["domain", "measure", *told.starts, "difference", "p (Holm)"]
        parts += [f"### {way.capitalize()}", _grid(heads, table(told, told.ways[way], outcomes))]
        parts.append(meaning(told, told.ways[way], outcomes))
    heads = ["task (its stage)", "eta", "curation", "after 1", "after 2", "after 3", "forgotten"]
    parts += ["### Every task after every stage", _grid(heads, list(_courses(staged, stage_of)))]
    return "\n\n".join(parts) + "\n"


def _courses(staged: Rows, stage_of: Mapping[str, int | None]) -> list[list[str]]:
    """A row a task and way: means over the seeds; a task means nothing before its stage."""
    ways = sorted({(run["eta"], run["curated"]) for run in staged})
    rows = []
    for task, stage in stage_of.items():
        for eta, curated in ways:
            runs = [run for run in staged if (run["eta"], run["curated"]) == (eta, curated)]
            scores = [fmean(each) for each in zip(*(r["scores"][task] for r in runs), strict=True)]
            own = stage or 0
            shown = ["" if k < own else f"{score:.3f}" for k, score in enumerate(scores)]
            lost = "" if own == len(scores) - 1 else f"{scores[own] - scores[-1]:+.3f}"
            seeds = f" ({len(runs)} seeds)" if len(runs) > 1 else ""
            rows.append([f"{task} ({own + 1})", f"{eta:g}{seeds}", _word(curated), *shown, lost])
    return rows


def _word(curated: bool) -> str:
    return "yes" if curated else "no"


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
