"""``project.yml`` as text with comments, so that its owner can read and change it by hand.

``nvflare provision -p project.yml`` reads it. Changes to it are made in the text, since a YAML
library would lose the comments. Names stand in quotes: without these YAML takes a hospital that is
called ``no``, ``null`` or ``12`` for something else than a text.
"""

import json
from collections.abc import Iterator, Sequence

from provisioning.names import Hospital
from provisioning.project import HUB, Person, Project
from provisioning.rights import ADMIN, ORG_ADMIN, ROLES

KIT_BUILDER = "provisioning.builders.HardenedKitBuilder"
CERT_BUILDER = "provisioning.builders.DatedCertBuilder"
REFUSED = "whom the server refuses though their certificate is still valid"
HEAD = """\
# The project {name}: who takes part, and how their kits are made. Written by
# `fedefm provision init`; change it by hand as you like. It holds no secrets. To make the kits, in
# this folder:
#
#   nvflare provision -p project.yml
#
# Each kit lies in workspace/{name}/prod_NN/NAME then, and goes to NAME alone: it holds their
# private key. workspace/{name}/state/cert.json holds the project's own private key, unencrypted:
# whoever reads it can pass for any hospital. docs/keys-stay-at-home.md tells how hospitals keep
# their private keys to themselves.
"""
HOME_HEAD = """\
# The project {name}, in which everybody makes their own private key. Written by
# `fedefm provision init --keys-at-home`; it holds no secrets. It says who takes part, and whom the
# server refuses: `fedefm provision join` and `retire` write it down here. Kits are made of the
# files in requests/, by their owners, as docs/keys-stay-at-home.md tells.
#
# Do not run `nvflare provision` on this file: it would make a second root, and the private keys of
# all in this folder. The setting keys_at_home below lets it refuse.
"""
PARTS = """
api_version: 3
name: {quoted_name}
description: {description}

participants:
  # The server passes messages on, and sees who sends how much to whom, but not what is in it.
  # All others must reach it by this name and port; nobody needs to reach them.
  - name: {server}
    type: server
    org: {hub}
    fed_learn_port: {port}
"""
SITES = """
  # The hospitals. FLARE's names have letters, digits, - and _ only.
"""
PEOPLE = """
  # People, each with a kit that they log in with. The role stands in their certificate:
"""
HOME_TAIL = """
# What makes a kit stands in each file of requests/. Here, nothing makes any.
builders:
  - path: {kit_builder}
    args:
      keys_at_home: true # no private key is made here
      retired: [] # {refused}
"""
TAIL = """
# FLARE's own builders first, ours after them. The same names give the same certificates when this
# is run again: they are kept in state/cert.json.
builders:
  - path: nvflare.lighter.impl.workspace.WorkspaceBuilder
  - path: nvflare.lighter.impl.static_file.StaticFileBuilder
    args:
      config_folder: config
      scheme: grpc
  # FLARE's CertBuilder, which gives every kit 360 days, with the number of days that you choose.
  # None outlives the root. Change valid_days as you like: it holds for the certificates that are
  # made from then on (`fedefm provision rotate`). root_valid_days cannot be changed later.
  - path: {cert_builder}
    args:
      root_valid_days: {root_days}
      valid_days: {days}
  # Stricter files in local/ of each kit: no foreign code, none but our classes, the gate on all
  # that leaves, no streaming of logs, all of the server's files in its own folder.
  - path: {kit_builder}
    args:
      heart_beat_timeout_s: 60 # a site that is silent for so long counts as gone
      retired: [] # {refused}
"""


def project_text(wanted: Project, keys_at_home: bool = False) -> str:
    """The whole file; where keys stay at home, one that makes no kits."""
    head = (HOME_HEAD if keys_at_home else HEAD).format(name=wanted.name)
    parts = PARTS.format(
        quoted_name=_quoted(wanted.name),
        description=json.dumps(f"Federated training of {len(wanted.sites)} hospitals"),
        server=_quoted(wanted.server),
        hub=_quoted(HUB),
        port=wanted.port,
    )
    roles = "".join(f"  #   {role}: {does}\n" for role, does in ROLES.items())
    tail = (HOME_TAIL if keys_at_home else TAIL).format(
        cert_builder=CERT_BUILDER,
        kit_builder=KIT_BUILDER,
        refused=REFUSED,
        root_days=wanted.root_days,
        days=wanted.days,
    )
    sites = "".join(site_text(site) for site in wanted.sites)
    people = "".join(person_text(person) for person in wanted.people)
    return head + parts + SITES + sites + PEOPLE + roles + people + tail


def site_text(site: Hospital) -> str:
    """One hospital's lines; what people call it is a comment."""
    written = f" # {_one_line(site.written)}" if site.written != site.name else ""
    name, organization = _quoted(site.name), _quoted(site.organization)
    return f"  - name: {name}{written}\n    type: client\n    org: {organization}\n"


def person_text(person: Person) -> str:
    """One person's lines."""
    name, hub, role = _quoted(person.name), _quoted(HUB), _quoted(person.role)
    return f"  - name: {name}\n    type: admin\n    org: {hub}\n    role: {role}\n"


def profile_text(wanted: Project) -> str:
    """What `nvflare cert init` and `nvflare cert approve` know of the project."""
    return (
        "# For `nvflare cert init` and `nvflare cert approve`; see docs/keys-stay-at-home.md.\n"
        f"name: {_quoted(wanted.name)}\nscheme: grpc\nconnection_security: mtls\n"
        f"server:\n  host: {_quoted(wanted.server)}\n"
        f"  fed_learn_port: {wanted.port}\n  admin_port: {wanted.port}\n"
    )


def request_texts(wanted: Project) -> Iterator[tuple[str, str]]:
    """For each participant, what `nvflare cert request` is given where the participant is.

    The builders in it are those that `nvflare package` uses there.
    """
    server = f"  - name: {_quoted(wanted.server)}\n    type: server\n    org: {_quoted(HUB)}\n"
    ports = f"    fed_learn_port: {wanted.port}\n    admin_port: {wanted.port}\n"
    yield wanted.server, _request_text(wanted.name, wanted.server, server + ports)
    yield from ((site.name, site_request(wanted.name, site)) for site in wanted.sites)
    yield from ((person.name, person_request(wanted.name, person)) for person in wanted.people)


def site_request(project: str, site: Hospital) -> str:
    """What a hospital of ``project`` gives `nvflare cert request`."""
    return _request_text(project, site.name, site_text(site))


def person_request(project: str, person: Person) -> str:
    """The same for a person.

    `nvflare cert request` knows no project_admin; an org_admin of the hub can do as much there, and
    nothing at a hospital.
    """
    role = ORG_ADMIN if person.role == ADMIN else person.role
    return _request_text(project, person.name, person_text(Person(person.name, role)))


def _request_text(project: str, name: str, block: str) -> str:
    return (
        f"# {name} makes its own private key from this, and keeps it:\n"
        f"#   nvflare cert request -p {name}.yml\n"
        f"name: {_quoted(project)}\ndescription: {_quoted(f'a participant of {project}')}\n"
        f"participants:\n{block}"
        "builders:\n"
        "  - path: nvflare.lighter.impl.workspace.WorkspaceBuilder\n"
        "  - path: nvflare.lighter.impl.static_file.StaticFileBuilder\n"
        "    args: {config_folder: config, scheme: grpc}\n"
        f"  - path: {KIT_BUILDER}\n"
    )


def _quoted(name: str) -> str:
    """A text to YAML, whatever it says."""
    return json.dumps(name)


def _one_line(words: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in words).split())


def retired_line(indent: str, names: Sequence[str]) -> str:
    """The one line of the file that names who is refused."""
    return f"{indent}retired: [{', '.join(_quoted(name) for name in names)}] # {REFUSED}"
