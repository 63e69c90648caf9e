"""``fedefm provision check``, ``harden`` and ``expiry``: what a kit allows, until when."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from provisioning.certificates import read_certificate
from provisioning.checking.checks import Checked, check_kit
from provisioning.checking.kit import open_kit
from provisioning.expiry import ENDED, ENDING, FINE, WARN_DAYS, Term, terms
from provisioning.finding import has_problems, summary
from provisioning.kit_files import harden_person, harden_server, harden_site

COLORS = {"ok": "green", "warning": "yellow", "problem": "red", ENDED: "red", ENDING: "yellow"}
SHORT = {  # FLARE's rights in the table: to stop or restart sites, read files there, bring code
    "view": "look",
    "submit_job": "submit",
    "manage_job": "end",
    "download_job": "download",
    "operate": "stop",
    "shell_commands": "files",
    "byoc": "code",
}
SOME_ENDED, SOME_ENDING = 1, 3  # exit codes; 2 is that of errors
KitPath = Annotated[
    Path, typer.Argument(metavar="KIT", help="The folder with startup/ and local/.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (check, harden, expiry):
        app.command()(command)


def check(kit: KitPath, as_json: AsJson = False) -> None:
    """Look at a kit's files, permissions, certificate and settings, and who may do what there.

    The exit code is 0 where no problem was found, and 1 otherwise; warnings do not count. What the
    machine can do is checked by `fedefm provision preflight`.

    Example: fedefm provision check /opt/flare/hosp-a
    """
    checked = check_kit(kit)
    if as_json:
        found = [asdict(finding) for finding in checked.findings]
        facts = {"kit": str(kit.absolute()), "role": checked.kit.role, "findings": found}
        print(json.dumps({**facts, "rights": checked.rights}, ensure_ascii=False))
    else:
        _show(checked)
    raise typer.Exit(1 if has_problems(checked.findings) else 0)


def harden(kit: KitPath) -> None:
    """Write our stricter files into a kit that was made without our builder.

    A site file that is there stays as it is. Do it before the kit is started first.

    Example: fedefm provision harden workspace/hearts/prod_00/St-Marys-Hospital
    """
    opened = open_kit(kit)
    if opened.role == "server":
        harden_server(kit)
    elif opened.role == "site":
        harden_site(kit, read_certificate(kit / "startup" / "client.crt").name)
    else:
        harden_person(kit)
    print(f"{kit} is hardened; look at it with `fedefm provision check {kit}`")


def expiry(
    places: Annotated[
        list[Path],
        typer.Argument(metavar="PLACE...", help="A project's folder, its workspace, or kits."),
    ],
    as_json: AsJson = False,
) -> None:
    """Show when certificates end, the first to end first.

    The exit code is 0 where all last 60 days or more, 1 where one has ended, and 3 where one ends
    within 60 days.

    Example: fedefm provision expiry hearts
    """
    found = terms(places)
    states = {term.state for term in found}
    if as_json:
        rows = [{**asdict(term), "ends": term.ends.isoformat()} for term in found]
        print(json.dumps({"certificates": rows}, ensure_ascii=False))
    else:
        _show_terms(found)
    raise typer.Exit(SOME_ENDED if ENDED in states else SOME_ENDING if ENDING in states else 0)


def _show(checked: Checked) -> None:
    console = Console(soft_wrap=True, highlight=False)
    width = max(len(finding.check) for finding in checked.findings)
    for finding in checked.findings:
        line = Text(f"{finding.verdict:8}", style=COLORS[finding.verdict])
        console.print(line.append(f"{finding.check:{width}}  {finding.line}", style="default"))
    if checked.rights:
        table = Table(
            title="Who may look, submit and end jobs, stop sites, read files, bring code",
            title_justify="left",
            box=None,
            padding=(0, 2, 0, 0),
        )
        for column in ("", *SHORT.values()):
            table.add_column(column, no_wrap=True)
        for role, rights in checked.rights.items():
            table.add_row(role, *(rights[right] for right in SHORT))
        Console(highlight=False).print(table)
    console.print(summary(checked.findings))


def _show_terms(found: list[Term]) -> None:
    table = Table()
    for column in ("whose", "kind", "ends", "days left", ""):
        table.add_column(column, justify="right" if column == "days left" else "left")
    for term in found:
        state = Text(term.state, style=COLORS.get(term.state, "green"))
        table.add_row(term.whose, term.kind, f"{term.ends:%Y-%m-%d}", str(term.days_left), state)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    late = [term for term in found if term.state != FINE]
    for term in late:
        mend = "a new project is due" if term.kind == "root" else "`fedefm provision rotate`"
        console.print(f"{term.whose}: {term.state}, {mend}", style=COLORS[term.state])
    if not late:
        console.print(f"none ends within {WARN_DAYS} days")
