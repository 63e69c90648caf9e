"""``fedefm provision init``: the names of a project's hospitals and people become project.yml."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.prompt import IntPrompt, Prompt

from fedefm.words import several
from provisioning.making import CA, PROFILE_FILE, REQUESTS, Made, make_project
from provisioning.project import DAYS, PORT, ROOT_DAYS, Project, project

LEAD_ASKED = "Who submits jobs (e-mail)? Several with commas"
OFFICER_ASKED = "Who looks on as privacy officer (e-mail)? Several with commas, or none"
ADMIN_ASKED = "Who of IT looks after the server (e-mail)? Several with commas"
Several = Annotated[list[str] | None, typer.Option()]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(init)


def init(
    name: Annotated[str, typer.Option(help="The project's name, which becomes a folder.")] = "",
    server: Annotated[
        str, typer.Option(help="The host name by which hospitals reach the server.")
    ] = "",
    port: Annotated[
        int | None, typer.Option(help=f"The server's only port; {PORT} if not given.")
    ] = None,
    site: Annotated[
        list[str] | None,
        typer.Option(help="A hospital, as people write it, or NAME=FLARE_NAME. Repeatable."),
    ] = None,
    lead: Annotated[
        list[str] | None, typer.Option(help="A data scientist's e-mail address. Repeatable.")
    ] = None,
    officer: Annotated[
        list[str] | None, typer.Option(help="A privacy officer's, who only looks. Repeatable.")
    ] = None,
    admin: Annotated[
        list[str] | None, typer.Option(help="Somebody's of the hub's IT. Repeatable.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(help=f"How long certificates last; {DAYS} if not given.")
    ] = None,
    root_days: Annotated[
        int, typer.Option(help="How long the root lasts that signs them; its end ends all kits.")
    ] = ROOT_DAYS,
    out: Annotated[
        Path | None, typer.Option(help="The folder to make; ./NAME if not given.")
    ] = None,
    keys_at_home: Annotated[
        bool,
        typer.Option(
            "--keys-at-home",
            help="Everybody makes their own private key: write files for `nvflare cert`.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Write project.yml, from which `nvflare provision -p project.yml` makes every kit.

    On a terminal, what no flag says is asked for.

    Example: fedefm provision init --name hearts --server hub.uni.org --site "St. Mary's Hospital"
    --site "City Clinic" --lead ann@uni.org --officer omar@uni.org --admin ida@uni.org
    """
    ask = _on_a_terminal() and not as_json
    wanted = project(
        _text(name, "The project's name, such as hearts", ask),
        _text(server, "The server's host name, such as hub.uni.org", ask),
        _number(port, "The server's port", PORT, ask),
        _list(site, _sites, ask),
        _list(lead, lambda: _people(LEAD_ASKED), ask),
        _list(officer, lambda: _people(OFFICER_ASKED), ask),
        _list(admin, lambda: _people(ADMIN_ASKED), ask),
        _number(days, "Days that certificates last", DAYS, ask),
        root_days,
    )
    made = make_project(wanted, out or Path(wanted.name), keys_at_home)
    if as_json:
        print(json.dumps(_facts(wanted, made)))
        return
    _tell(wanted, made)


def _on_a_terminal() -> bool:
    return sys.stdin.isatty()


def _text(given: str, asked: str, ask: bool) -> str:
    return given or (Prompt.ask(asked) if ask else "")


def _number(given: int | None, asked: str, usual: int, ask: bool) -> int:
    if given is not None:
        return given
    return IntPrompt.ask(asked, default=usual) if ask else usual


def _list(given: Sequence[str] | None, asked: Callable[[], list[str]], ask: bool) -> list[str]:
    return list(given) if given else (asked() if ask else [])


def _sites() -> list[str]:
    found: list[str] = []
    while True:
        asked = f"Hospital {len(found) + 1}, as people write it; Enter to end"
        name = Prompt.ask(asked, default="", show_default=False).strip()
        if not name:
            return found
        found.append(name)


def _people(asked: str) -> list[str]:
    return [
        one.strip()
        for one in Prompt.ask(asked, default="", show_default=False).split(",")
        if one.strip()
    ]


def _facts(wanted: Project, made: Made) -> dict[str, Any]:
    return {
        "project": str(made.file),
        "sites": {site.written: site.name for site in wanted.sites},
        "people": {person.name: person.role for person in wanted.people},
        "days": wanted.days,
        "root_days": wanted.root_days,
        "root_key": str(made.root_key),
        "keys_at_home": [str(path) for path in made.requests],
    }


def _tell(wanted: Project, made: Made) -> None:
    say = Console(highlight=False, soft_wrap=True, markup=False).print
    say(f"project file: {made.file}")
    for site in wanted.sites:
        if site.written != site.name:
            say(f"{site.written} is {site.name} in FLARE, which knows no other characters")
    if not made.requests:
        say(
            f"Certificates last {several(wanted.days, 'day')}, the root that signs them "
            f"{wanted.root_days}. "
            f"See with `fedefm provision expiry {made.folder}` how long they still do."
        )
    say(
        f"The root's private key will lie in {made.root_key}, unencrypted: whoever reads it can "
        "pass for any hospital. The folder is yours alone (mode 700); keep it on an encrypted "
        "disk, back it up encrypted, and let it be in no cloud folder or repository. Without it "
        "no site can join, and no certificate be renewed."
    )
    if made.requests:
        say(
            f"Make the root: cd {made.folder} && nvflare cert init --profile {PROFILE_FILE} "
            f"--output-dir {CA} --valid-days {wanted.root_days}"
        )
        say(
            f"Then send each participant their file of {made.folder / REQUESTS}: they make their "
            "private keys and kits themselves, as docs/keys-stay-at-home.md tells"
        )
        return
    say(f"Make the kits: cd {made.folder} && nvflare provision -p {made.file.name}")
