"""What the officer's commands share: a site file, its ledger, and what its policy allows."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from fedefm.config import SiteConfig, read_site
from fedefm.errors import ConfigError, FedEFMError, LedgerCorrupt, PrivacyError, ProvisionError
from fedefm.words import several
from privacy.ledger import Budget, Dataset, Entry, Head, Ledger, verify
from privacy.ledger import keys as ledger_keys
from privacy.ledger.entry import read_entry
from privacy.ledger.heads import default_witness, read_witness
from privacy.ledger.journal import Journal
from privacy.ledger.opening import require_not_lost
from privacy.ledger.reading import read_rows
from provisioning.certificates import read_certificate

SiteFile = Annotated[
    Path, typer.Argument(metavar="SITE.yaml", help="The site's file, fedefm_site.yaml.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@dataclass(frozen=True)
class Site:
    """A site file with the places that it names."""

    file: Path
    settings: SiteConfig
    ledger: Path
    witness: Path

    @property
    def exists(self) -> bool:
        """Whether there is, or once was, a ledger; before the first private run there is none."""
        traces = (self.ledger, self.witness, ledger_keys.key_path(self.ledger))
        return any(path.exists() for path in traces)

    @property
    def budget(self) -> Budget:
        """What the policy allows to be spent on each dataset."""
        policy = self.settings.policy
        return Budget(policy.epsilon_cap, policy.delta, policy.adjacency)

    @property
    def budgets(self) -> dict[Dataset, Budget]:
        """The budget of every dataset that the site file names."""
        entries = self.settings.datasets.items()
        return {Dataset(one.budget or name, one.unit): self.budget for name, one in entries}

    def name(self) -> str:
        """Whose ledger it is, by its own first entry; before there is one, as the kit says."""
        if not self.exists:
            return self.folder_name
        require_not_lost(self.ledger, self.witness)
        rows = read_rows(self.ledger)
        genesis = read_entry(rows[0].record, rows[0].signature).genesis if rows else None
        if genesis is None:
            raise LedgerCorrupt(f"ledger {self.ledger} does not begin as a ledger does")
        return genesis.site

    @property
    def folder_name(self) -> str:
        """What the file's folder is called; in a kit's ``local``, whose certificate the kit has."""
        folder = self.file.absolute().parent
        if folder.name != "local":
            return folder.name
        with suppress(ProvisionError):
            return read_certificate(folder.parent / "startup" / "client.crt").name
        return folder.parent.name

    def read(self) -> Ledger:
        """The ledger, verified, for reading. Raises what opening a ledger raises."""
        return Ledger.open(self.ledger, self.name(), self.witness, create=False, read_only=True)

    def entries(self) -> list[Entry]:
        """All entries, verified; none before the first private run."""
        if not self.exists:
            return []
        with self.read() as ledger:
            return ledger.entries()

    def readable(self) -> list[Entry]:
        """The entries up to the first that does not verify, of a ledger that is in doubt."""
        journal = Journal(self.ledger)
        with suppress(PrivacyError):  # what is wrong, verify() says
            journal.take(read_rows(self.ledger))
        return list(journal.chain.entries)


def site_of(site_file: Path) -> Site:
    """The site of ``site_file``; raises ConfigError where it keeps no ledger."""
    settings = read_site(site_file)
    if settings.ledger is None:
        raise ConfigError(
            f"site file {site_file} names no ledger, so nothing private runs at this site and "
            "nothing is counted; to keep one, add a line such as "
            "`ledger: /var/lib/fedefm/ledger.sqlite`"
        )
    folder = site_file.parent
    ledger = folder / settings.ledger
    witness = settings.ledger_witness
    return Site(
        site_file, settings, ledger, folder / witness if witness else default_witness(ledger)
    )


def dataset_called(name: str, known: Sequence[Dataset]) -> Dataset:
    """The dataset of that name; raises ConfigError with those there are."""
    found = [dataset for dataset in known if dataset.name == name]
    if len(found) != 1:
        names = ", ".join(sorted({dataset.name for dataset in known})) or "none yet"
        reason = "is counted by patient and by image" if found else "has no entry in this ledger"
        raise ConfigError(f"dataset {name!r} {reason}; the ledger knows: {names}")
    return found[0]


def doubts_about(site: Site, heads: Sequence[Head]) -> list[str]:
    """Everything that speaks against the ledger; empty where all is well."""
    try:
        return verify(site.ledger, None, site.witness, heads)
    except FedEFMError as error:
        return [str(error)]


def what_was_checked(site: Site, entries: Sequence[Entry], heads: Sequence[Head]) -> list[str]:
    """What ``verify`` looked at, once it found no doubt."""
    told = [
        f"The file is a ledger of {several(len(entries), 'entry', 'entries')} without a gap "
        "between them.",
        "Every entry carries the SHA-256 hash of the one before it.",
        f"Every entry is signed with the key that the first entry names ({_public_key(entries)}).",
        "Nothing was drawn, settled or given back that had not been planned or drawn before.",
        _of_key(site, entries),
        _of_witness(site),
    ]
    return [
        *told,
        *(f"Entry {head.sequence} is the one that you gave by --head." for head in heads),
    ]


def _public_key(entries: Sequence[Entry]) -> str:
    genesis = entries[0].genesis
    return f"Ed25519, {genesis.public_key[:16]}…" if genesis else "none"


def key_doubts(site: Site, entries: Sequence[Entry]) -> list[str]:
    """What is wrong with the key's file, as far as this account may read it."""
    try:
        _load_key(site, entries)
    except ledger_keys.KeyOutOfReach:
        return []
    except PrivacyError as error:
        return [str(error)]
    return []


def _load_key(site: Site, entries: Sequence[Entry]) -> None:
    genesis = entries[0].genesis if entries else None
    if genesis is not None:
        ledger_keys.load_key(site.ledger, genesis.public_key)


def _of_key(site: Site, entries: Sequence[Entry]) -> str:
    try:
        _load_key(site, entries)
    except ledger_keys.KeyOutOfReach:
        return "The key's file was not compared: this account may not read it."
    return "The key beside the ledger is the one that signed."


def _of_witness(site: Site) -> str:
    head = read_witness(site.witness)
    if head is None:
        return f"There is no witness at {site.witness} yet."
    beside = site.witness.parent.absolute() == site.ledger.parent.absolute()
    warning = (
        " It lies beside the ledger, so that a restored folder brings an old witness with it; set "
        "ledger_witness to a place on another disk."
    )
    told = f"The witness {site.witness} remembers entry {head.sequence}, and it is there unchanged."
    return told + (warning if beside else "")
