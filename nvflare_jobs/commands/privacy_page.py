"""``fedefm privacy report``: one offline page for the officer's files, and the same as JSON."""

import json
import os
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

import fedefm.report
from fedefm import __version__
from fedefm.errors import LedgerCorrupt, PrivacyError, all_problems
from nvflare_jobs.commands.privacy_site import (
    AsJson,
    Site,
    SiteFile,
    doubts_about,
    key_doubts,
    site_of,
    what_was_checked,
)
from privacy.accountant import ACCOUNTANT, CERTIFICATE_INTERVAL, INTERVAL
from privacy.ledger import Entry
from privacy.report.facts import SiteFacts
from privacy.report.gather import dataset_facts

PAGE = "privacy.html"  # in the folder that --out names


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("report", help=report.__doc__)(report)


def report(
    site_file: SiteFile,
    out: Annotated[
        Path, typer.Option(metavar="DIR|FILE.html", help="Where the page goes; JSON beside it.")
    ] = Path("privacy.html"),
    certificate: Annotated[
        bool,
        typer.Option("--certificate", help="Count ten times as finely; takes seconds a mechanism."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write one offline page that tells what was spent, how it was counted and what it rests on.

    Where the ledger is in doubt, the page says so and the command ends with exit code 2.

    Example: fedefm privacy report local/fedefm_site.yaml --out privacy.html
    """
    site = site_of(site_file)
    facts = site_facts(site, CERTIFICATE_INTERVAL if certificate else INTERVAL)
    page = _write(facts, out)
    if as_json:
        told = {"page": str(page), "json": str(page.with_suffix(".json"))}
        print(json.dumps(told | {"doubts": list(facts.doubts)}))
    else:
        print(page)
    if facts.doubts:
        if as_json:
            raise typer.Exit(2)
        raise LedgerCorrupt(all_problems(f"ledger {site.ledger} is in doubt", facts.doubts))


def write_page(site_file: Path, out: Path) -> Path:
    """The page as written into ``out``, a folder or an .html file, with JSON beside it."""
    return _write(site_facts(site_of(site_file)), out)


def _write(facts: SiteFacts, out: Path) -> Path:
    from fedefm.report.figures.canvas import drawn  # matplotlib loads slowly
    from privacy.report.page import as_json as facts_as_json
    from privacy.report.page import render

    page = out if out.suffix == ".html" else out / PAGE
    page.parent.mkdir(parents=True, exist_ok=True)
    _replace(page.with_suffix(".json"), facts_as_json(facts))
    _replace(page, render(facts, drawn, _style(), __version__))
    return page


def site_facts(site: Site, interval: float = INTERVAL) -> SiteFacts:
    """Everything that the page tells. A ledger in doubt is told as far as it verifies."""
    try:
        entries = site.entries()
        doubts = key_doubts(site, entries)
    except PrivacyError:
        entries, doubts = site.readable(), doubts_about(site, [])
    genesis = entries[0].genesis if entries else None
    return SiteFacts(
        site=genesis.site if genesis else site.folder_name,
        made=datetime.now(timezone.utc),
        accountant=ACCOUNTANT,
        interval=interval,
        entries=len(entries),
        sequence=entries[-1].sequence if entries else 0,
        head=entries[-1].hash if entries else "",
        checked=tuple(_checked(site, entries, doubts)),
        doubts=tuple(doubts),
        datasets=dataset_facts(entries, site.budgets, site.budget, interval),
    )


def _checked(site: Site, entries: Sequence[Entry], doubts: Sequence[str]) -> list[str]:
    if doubts:
        return []
    if not entries:
        return ["There is no ledger yet; the first private run begins it."]
    return what_was_checked(site, entries, [])


def _style() -> str:
    """The style of the project's pages."""
    return (resources.files(fedefm.report) / "templates" / "report.css").read_text("utf-8")


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)  # noqa: PTH105 - atomic, also over an existing file
