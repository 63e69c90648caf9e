"""``join`` and ``retire`` of a project whose private keys stay at home."""

import json
from pathlib import Path

from nvflare_jobs.commands.provision_told import (
    tell_still_signed,
    tell_to_copy,
    tell_to_disable,
    warn_missed,
)
from provisioning.at_home import take_in, take_out
from provisioning.names import Hospital
from provisioning.project import Person
from provisioning.project_edit import ProjectFile

GUIDE = "docs/keys-stay-at-home.md"


def join_at_home(
    file: ProjectFile, hospitals: list[Hospital], people: list[Person], as_json: bool
) -> None:
    """Write their requests' files, and tell what comes next."""
    requests = take_in(file, hospitals, people)
    if as_json:
        print(json.dumps({"requests": [str(path) for path in requests]}))
        return
    for one in hospitals:
        if one.written != one.name:
            print(f"{one.written} is {one.name} in FLARE, which knows no other characters")
    print("In this project private keys stay at home, so that no kit was made here.")
    for path in requests:
        print(f"Send, to its owner: {path}")
    print(
        "They make their key and a request of it, you sign that with `nvflare cert approve`, and "
        f"they make their kit: steps 2 to 4 of {GUIDE}. All other kits stay as they are, and the "
        "server needs no restart."
    )


def retire_at_home(file: ProjectFile, name: str, server_kit: Path | None, as_json: bool) -> None:
    """Write down that they are refused, and tell what is left to do at the server."""
    gone = take_out(file, name, server_kit)
    if as_json:
        rights = None if gone.rights is None else str(gone.rights)
        print(json.dumps({"retired": gone.name, "again": gone.again, "for_server": rights}))
        return
    before = " already" if gone.again else ""
    print(f"{gone.name} is out of {file.path}{before}, their request out of requests/.")
    warn_missed(file, gone.name)
    if server_kit is not None:
        print(f"The server in {server_kit} refuses {gone.name} from its next start on.")
    elif "@" in gone.name:
        tell_to_copy(gone.rights)
    if "@" not in gone.name:
        tell_to_disable(gone.name)
    signed = file.path.parent / f"{gone.name}.signed.zip"
    if signed.is_file():
        print(f"Remove {signed}, or `expiry` goes on telling when it ends.")
    print(
        "A server's kit that is made anew with `nvflare package` refuses nobody. Before it starts, "
        "where it lies, with a copy of this project file: fedefm provision retire "
        f"{file.path.name} {gone.name} --server-kit KIT (which tells it of all who are retired)"
    )
    tell_still_signed(gone.name)
