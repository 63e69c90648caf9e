"""``fedefm privacy``: the officer reads, checks and corrects what was spent on patients."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from fedefm.errors import ConfigError, LedgerCorrupt, PrivacyError, all_problems
from fedefm.words import several
from nvflare_jobs.commands import (
    privacy_page,
    privacy_probe,
    privacy_tables,
    privacy_topology,
    privacy_what_if,
)
from nvflare_jobs.commands.privacy_site import (
    AsJson,
    SiteFile,
    dataset_called,
    doubts_about,
    site_of,
    what_was_checked,
)
from privacy.accountant import ACCOUNTANT
from privacy.ledger import Dataset, Head, Ledger, RunRecord, to_csv, to_json
from privacy.report.gather import dataset_facts

app = typer.Typer(
    help="See, cap, verify and correct what jobs spent of the patients' privacy at a site.",
    no_args_is_help=True,
)
privacy_what_if.register(app)
privacy_page.register(app)
privacy_probe.register(app)
privacy_topology.register(app)


@app.command()
def status(site_file: SiteFile, as_json: AsJson = False) -> None:
    """Show, for each dataset, how much epsilon is spent, reserved and left, and by which job.

    Example: fedefm privacy status local/fedefm_site.yaml
    """
    site = site_of(site_file)
    facts = dataset_facts(site.entries(), site.budgets, site.budget, drawn=False)
    if as_json:
        datasets = [privacy_tables.dataset_json(one) for one in facts]
        _print_json(
            {"site": site.name(), "ledger": str(site.ledger), "accountant": ACCOUNTANT}
            | {"datasets": datasets}
        )
        return
    print(f"site {site.name()}, ledger {site.ledger}{'' if site.exists else ' (not begun yet)'}")
    for one in facts:
        _show(privacy_tables.status_table(one), privacy_tables.status_lines(one))
    print(f"epsilon by {ACCOUNTANT}; all steps of all jobs are composed together")


@app.command()
def ledger(
    site_file: SiteFile,
    dataset: Annotated[str, typer.Option(help="Only entries of this dataset.")] = "",
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV, for a spreadsheet or an own accountant.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the ledger's entries, the oldest first, once all of them verified.

    Example: fedefm privacy ledger local/fedefm_site.yaml --csv > ledger.csv
    """
    if as_csv and as_json:
        raise ConfigError("--csv and --json are two forms of the same entries; choose one")
    entries = site_of(site_file).entries()
    if dataset:
        wanted = dataset_called(dataset, sorted({e.dataset for e in entries if e.dataset}))
        entries = [entry for entry in entries if entry.dataset == wanted]
    if as_csv:
        sys.stdout.write(to_csv(entries))
    elif as_json:
        _print_json(to_json(entries))
    elif not entries:
        print("no entries yet")
    else:
        _show(privacy_tables.entries_table(entries), privacy_tables.entries_lines(entries))


@app.command()
def verify(
    site_file: SiteFile,
    head: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SEQ:HASH",
            help="An entry that somebody outside remembers, such as the server's job record; "
            "may be given several times.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every hash, link and signature, the rules of the books, the key and the heads.

    Any doubt is printed and ends the command with exit code 2.

    Example: fedefm privacy verify local/fedefm_site.yaml --head 42:9f86d0818...
    """
    site, heads = site_of(site_file), [_head(text) for text in head or ()]
    if not site.exists and not heads:
        raise ConfigError(
            f"there is no ledger at {site.ledger} yet, so nothing can be verified; the first "
            "private run at this site begins it"
        )
    doubts = doubts_about(site, heads)
    checked = [] if doubts else what_was_checked(site, site.entries(), heads)
    if as_json:
        _print_json({"ledger": str(site.ledger), "doubts": doubts, "checked": checked})
        raise typer.Exit(2 if doubts else 0)
    if doubts:
        raise LedgerCorrupt(
            all_problems(f"ledger {site.ledger} is in doubt", doubts, limit=len(doubts))
        )
    print(f"ledger {site.ledger} of site {site.name()} is in order:")
    for line in checked:
        print(f"  {line}")
    with site.read() as opened:
        newest = opened.head()
    print(f"newest entry: {newest.sequence}:{newest.hash}")


@app.command()
def refund(
    site_file: SiteFile,
    dataset: Annotated[str, typer.Option(help="The dataset's name, as in `status`.")],
    run: Annotated[str, typer.Option(metavar="RUN_ID", help="The run's id, as in `status`.")],
    reason: Annotated[str, typer.Option(help="Why; it stays in the ledger for ever.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give back what a dead run reserved and did not take: a signed entry with your reason.

    Only for steps of which you know that nothing made in them left the site. What was settled
    cannot be given back.

    Example: fedefm privacy refund local/fedefm_site.yaml --dataset pretraining --run 5f0c --reason "node died before training"
    """  # noqa: E501 - one command
    if not reason.strip():
        raise PrivacyError("a refund needs a reason, which stays in the ledger for ever")
    site = site_of(site_file)
    with Ledger.open(site.ledger, site.name(), site.witness, create=False) as opened:
        chosen = dataset_called(dataset, opened.datasets())
        record = _run_called(opened, chosen, run)
        if not yes:
            steps = record.lost + sum(record.reserved.values())
            typer.confirm(
                f"Give back {several(steps, 'step')} of run {record.label.name!r} on "
                f"{chosen.name!r}? If it "
                "is running, it will stop, and what it took without settling is not counted.",
                abort=True,
                err=True,
            )
        entries = opened.refund(chosen, record.label.run_id, reason.strip())
    if as_json:
        _print_json(to_json(entries))
        return
    steps = sum(entry.steps for entry in entries)
    print(f"gave back {several(steps, 'step')} of run {record.label.name!r} on {chosen.name!r}")


def _run_called(opened: Ledger, dataset: Dataset, run_id: str) -> RunRecord:
    found = [run for run in opened.runs(dataset) if run.label.run_id == run_id]
    if not found:
        raise ConfigError(
            f"no run with the id {run_id!r} spent anything on dataset {dataset.name!r}; "
            "`fedefm privacy status` shows the ids"
        )
    return found[0]


def _head(text: str) -> Head:
    sequence, _, digest = text.partition(":")
    if not sequence.isdigit() or len(digest) != 64:
        raise ConfigError(
            f"head {text!r} is not SEQ:HASH, the number of an entry and its hash of 64 digits"
        )
    return Head(int(sequence), digest)


def _show(table: Any, lines: list[str]) -> None:
    console = Console()
    if console.is_terminal:
        console.print(table)
    else:
        print("\n".join(lines))


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))
