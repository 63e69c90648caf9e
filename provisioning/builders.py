"""Builders for ``nvflare provision``: what makes FLARE's stock kits fit for a hospital.

FLARE 2.9 as provisioned lets every lead bring code, streams each site's error log to the server,
keeps jobs in a world-readable folder, notices a vanished site after ten minutes, and gives every
kit 360 days. A project file names these builders beside FLARE's own; `nvflare package` takes
``HardenedKitBuilder`` from the file that a participant's request was made with.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from nvflare.lighter.entity import Participant
from nvflare.lighter.impl.cert import CertBuilder
from nvflare.lighter.spec import Builder, Project, ProvisionContext
from nvflare.lighter.utils import generate_keys

from fedefm.errors import ProvisionError
from provisioning.kit_files import HEART_BEAT_S, harden_person, harden_server, harden_site
from provisioning.private_places import FILE, keep_private, require_private
from provisioning.rights import ROLES

STATE_FILE = "cert.json"


class HardenedKitBuilder(Builder):  # type: ignore[misc]  # FLARE has no types
    """Writes the files of ``local/`` that FLARE reads before its own defaults.

    Comes after FLARE's builders. The workspace of the project, where private keys lie, becomes its
    owner's alone; where it holds keys already and others may read them, nothing is made.

    Args:
        heart_beat_timeout_s: so long without a sign, and the server takes a site for gone.
        retired: sites and people whom the server refuses though their certificates still hold.
        keys_at_home: makes nothing: in this project, no private key may be made at the hub.
    """

    def __init__(
        self,
        heart_beat_timeout_s: int = HEART_BEAT_S,
        retired: Sequence[str] = (),
        keys_at_home: bool = False,
    ) -> None:
        self._keys_at_home = keys_at_home
        self._heart_beat_timeout_s = heart_beat_timeout_s
        self._retired = tuple(retired or ())
        if not all(isinstance(name, str) for name in self._retired):
            raise ProvisionError(f"`retired` in the project file: quote the names of {retired}")

    def initialize(self, project: Project, ctx: ProvisionContext) -> None:
        """See to the workspace and to the names before anything is made."""
        if self._keys_at_home:
            raise ProvisionError(
                f"in the project {project.name} private keys stay at home, and `nvflare provision` "
                "would make those of all here, and a second root; kits are made of the files in "
                "requests/, as docs/keys-stay-at-home.md tells"
            )
        _protect(Path(ctx.get_workspace()), Path(ctx.get_state_dir()))
        for person in project.get_admins():
            if person.get_prop("role") not in ROLES and person.get_prop("role") != "org_admin":
                raise ProvisionError(
                    f"{person.name} has the role {person.get_prop('role')!r}, and FLARE asks "
                    f"nothing of some roles; choose one of {', '.join(ROLES)}"
                )
        for one in project.get_all_participants():
            if one.name in self._retired:
                raise ProvisionError(
                    f"{one.name!r} is retired, and its former certificate would be let in again; "
                    "choose a new name, or take it out of `retired` in the project file"
                )

    def build(self, project: Project, ctx: ProvisionContext) -> None:
        """Complete the kits of server, sites and people."""
        server = project.get_server()
        if server is not None:
            kit = Path(ctx.get_ws_dir(server))
            harden_server(kit, self._heart_beat_timeout_s, self._retired)
        for client in project.get_clients():
            harden_site(Path(ctx.get_ws_dir(client)), client.name)
        for person in project.get_admins():
            harden_person(Path(ctx.get_ws_dir(person)))

    def finalize(self, project: Project, ctx: ProvisionContext) -> None:
        """Nothing that was made may have become readable meanwhile."""
        require_private(Path(ctx.get_workspace()))


class DatedCertBuilder(CertBuilder):  # type: ignore[misc]  # FLARE has no types
    """FLARE's CertBuilder, whose ``root_valid_days`` is the root's; all other certificates last
    360 days there, and ``valid_days`` here, though never longer than the root.

    Certificates that were made before stay as they are.
    """

    def __init__(self, root_valid_days: int = 3650, valid_days: int = 365) -> None:
        super().__init__(root_valid_days)
        if isinstance(valid_days, bool) or not isinstance(valid_days, int) or valid_days < 1:
            raise ValueError(f"valid_days must be a number of days, not {valid_days!r}")
        self._valid_days = valid_days

    def get_pri_key_cert(self, participant: Participant) -> tuple[Any, Any]:
        """A new key and certificate. Raises ProvisionError where the root has ended."""
        now = datetime.now(timezone.utc)
        last = self.root_cert.not_valid_after_utc
        if last <= now:
            raise ProvisionError(
                f"the project's root certificate ended on {last:%Y-%m-%d}, and can sign no more; "
                "make a new project, and new kits for all"
            )
        key, public = generate_keys()
        certificate = self._generate_cert(
            participant.subject,
            participant.org,
            self.issuer,
            self.pri_key,
            public,
            role=participant.get_prop("role") if participant.type == "admin" else None,
            server=participant if participant.type == "server" else None,
            not_valid_before=now,
            not_valid_after=min(last, now + timedelta(days=self._valid_days)),
        )
        return key, certificate

    def finalize(self, project: Project, ctx: ProvisionContext) -> None:
        """Keep the root's key where FLARE looks for it, for its owner alone."""
        state = Path(ctx.get_state_dir())
        keep_private(state)
        file = state / STATE_FILE
        file.touch(mode=FILE)
        file.chmod(FILE)
        super().finalize(project, ctx)


def _protect(workspace: Path, state: Path) -> None:
    if (state / STATE_FILE).exists():
        require_private(workspace)
    else:
        keep_private(workspace)
