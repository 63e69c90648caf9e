"""The site file, which the hospital owns: what its data are called, and what it allows."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from fedefm.config.names import ScanMode, dataset_name
from fedefm.config.privacy import Adjacency
from fedefm.config.section import Name, Section, read
from fedefm.errors import ConfigError, SiteFileError

FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")  # of a certificate
SERVER_PEER = "server"  # what a job calls the server, whatever its host
SITE_FILE = "fedefm_site.yaml"  # the hospital's own; read by ``read_site``


class DatasetEntry(Section):
    """What one dataset name means at this site."""

    manifest: Path  # relative to the site file
    unit: Literal["patient", "image"] = "patient"  # what the ledger counts for; runs must agree
    budget: Name | None = None  # one name for datasets that hold the same patients; null: its own
    patients: int | None = Field(None, ge=1)  # as the hospital publishes it; null: counted
    labels: tuple[Name, ...] | None = None  # kinds of images that the hospital says it holds
    unlabeled: bool = False  # promised: refused where its manifest has labels or masks
    scan_mode: ScanMode | None = None  # of ultrasound all of which is of one kind of probe


class PolicyConfig(Section):
    """What the site allows; no job can relax it."""

    require_dp: bool = False
    min_cohort: int = Field(2, ge=1)  # so many others must be in a secure sum beside this site
    colluders: int = Field(1, ge=0)  # so many of them, pooling what they see, must learn nothing
    require_encryption: bool = True
    allowed_metrics: tuple[str, ...] = ("loss", "accuracy", "images", "seconds", "similarity")
    epsilon_cap: float | None = Field(None, gt=0)  # of a dataset's patients, over all jobs, ever
    delta: float = Field(1e-5, gt=0, lt=1)
    adjacency: Adjacency = "add_or_remove_one"
    noise_shares: bool = False  # whether its patients' protection may rest on other sites' noise


class SiteConfig(Section):
    """One site file, ``fedefm_site.yaml``."""

    datasets: dict[Name, DatasetEntry]
    policy: PolicyConfig = PolicyConfig()
    starts: dict[Name, Path] = Field({})  # weights to start from; relative to the site file
    ledger: Path | None = None  # outside any job's folder; its key lies beside it
    ledger_witness: Path | None = None  # a file on another disk that remembers the ledger's head
    device: Literal["cpu"] = "cpu"  # where pre-training computes; others are not supported yet
    peers: dict[Name, str] = Field({})  # others' certificates, `sha256:...`; none: the root's

    @field_validator("datasets")
    @classmethod
    def _each_dataset_can_be_named(
        cls, datasets: dict[Name, DatasetEntry]
    ) -> dict[Name, DatasetEntry]:
        return {dataset_name(name): entry for name, entry in datasets.items()}

    @field_validator("peers")
    @classmethod
    def _each_peer_is_a_fingerprint(cls, peers: dict[Name, str]) -> dict[Name, str]:
        found = {name: _fingerprint(text) for name, text in peers.items()}
        wrong = [name for name, text in found.items() if not FINGERPRINT.fullmatch(text)]
        if wrong:
            raise ValueError(
                f"{_listed(wrong)}: not the fingerprint of a certificate, which is `sha256:` and "
                "64 hexadecimal digits; see `fedefm provision fingerprint`"
            )
        if found and SERVER_PEER not in found:
            raise ValueError(
                f"{SERVER_PEER!r} is missing: where certificates are pinned, the server's is, too"
            )
        return found

    @model_validator(mode="after")
    def _each_patient_is_counted_once(self) -> "SiteConfig":
        problems = _counted_twice(self.datasets) if self.ledger else []
        if problems:
            raise ValueError("; ".join(problems))
        return self


def read_site(path: Path) -> SiteConfig:
    """The site file at ``path``. Raises SiteFileError with every mistake of the file."""
    try:
        return read(path, SiteConfig, "site file")
    except ConfigError as error:
        raise SiteFileError(str(error)) from None


def _fingerprint(text: str) -> str:
    """As this project writes it; openssl and others write colons and capitals."""
    digits = text.strip().lower().removeprefix("sha256 fingerprint=").removeprefix("sha256:")
    return f"sha256:{digits.replace(':', '')}"


def _counted_twice(datasets: Mapping[Name, DatasetEntry]) -> list[str]:
    """Where a ledger would keep two accounts of the same images, each with the whole cap."""
    problems = []
    by_manifest = _grouped(datasets, lambda name: os.path.normpath(datasets[name].manifest))
    for manifest, names in by_manifest.items():
        if len({datasets[name].budget or name for name in names}) > 1:
            problems.append(
                f"datasets {_listed(names)} hold the images of {manifest} and are counted under "
                "different budgets; give them one `budget`"
            )
    by_budget = _grouped(datasets, lambda name: datasets[name].budget or name)
    for budget, names in by_budget.items():
        if len({datasets[name].unit for name in names}) > 1:
            problems.append(
                f"datasets {_listed(names)} share the budget {budget!r} and are counted by the "
                "patient and by the image; give them one `unit`"
            )
    return problems


def _grouped(names: Iterable[Name], key: Callable[[Name], str]) -> dict[str, list[Name]]:
    groups: dict[str, list[Name]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups


def _listed(names: Iterable[Name]) -> str:
    return " and ".join(repr(name) for name in names)
