"""What a run protected and what it did not, in sentences that a privacy officer can act on."""

from dataclasses import dataclass
from typing import Any

from fedefm.report.record import RunRecord
from fedefm.report.sentences import scenario_of


@dataclass(frozen=True)
class Finding:
    """One thing that was, or was not, protected."""

    title: str
    text: str
    protected: bool = False


def findings(record: RunRecord) -> list[Finding]:
    """All findings, the unprotected first. What is not recorded as protected is unprotected."""
    told = _protection(record)
    scenario = scenario_of(record)
    found = [_privacy(bool(told.get("differential_privacy")))]
    if scenario == "centralized":
        found.append(_POOLED)
    elif scenario != "local":
        found += [
            _sums(bool(told.get("secure_sums")), scenario, any(record.of("published"))),
            _transport(bool(told.get("end_to_end_encryption")), bool(told.get("simulated"))),
            _LIARS,
            _CONTENT,
        ]
    if scenario == "local" and told.get("simulated"):
        found.append(_transport(False, True))
    found.append(_REPORT)
    return sorted(found, key=lambda finding: finding.protected)


def summary(record: RunRecord) -> str:
    """The protection in a few words, for the head of the page."""
    told = _protection(record)
    missing = [
        name
        for key, name in (
            ("differential_privacy", "differential privacy"),
            ("secure_sums", "secure sums"),
            ("end_to_end_encryption", "encryption"),
        )
        if not told.get(key)
    ]
    return f"without {', '.join(missing)}" if missing else "private, summed securely, encrypted"


def privacy_rows(record: RunRecord) -> list[tuple[str, dict[str, Any] | None]]:
    """What each site's ledger says of this run, None where it trained without a guarantee.

    Empty where no site has anything to say.
    """
    told = record.result.get("privacy") or {}
    return [(site, told.get(site)) for site in record.sites] if any(told.values()) else []


def _protection(record: RunRecord) -> dict[str, Any]:
    where = record.started.get("where")
    assumed = {"simulated": where != "prod"}
    return {**assumed, **(record.result.get("protection") or {})}


def _privacy(on: bool) -> Finding:
    if on:
        return Finding(
            "Differential privacy",
            "Every site added noise while it trained. The table below says how strongly this "
            "limits what a model can reveal about one patient; an epsilon says nothing without its "
            "unit, adjacency and accountant.",
            True,
        )
    return Finding(
        "No differential privacy",
        "Nothing limits what the exchanged models, or the final one, reveal about a single "
        "patient. Who holds such a model can test whether a known image was used to train it and "
        "may recover parts of images. The model is not anonymous data: treat it with the same "
        "care as the images.",
    )


def _sums(on: bool, scenario: str, published: bool) -> Finding:
    if on:
        return Finding(
            "Secure sums",
            "Models were added up under masks: a receiver saw the sum over a group of sites and no "
            "single site's part.",
            True,
        )
    receiver = "The server received each site's"
    if scenario != "client_server":
        receiver = "Every partner of a site received that site's"
    return Finding(
        "No secure sums",
        f"{receiver} whole model, not only a sum over many sites, and could search it for traces "
        f"of the site's patients.{_COLLECTED if published and scenario == 'decentralized' else ''}",
    )


def _transport(encrypted: bool, simulated: bool) -> Finding:
    if simulated:
        return Finding(
            "Simulated sites, no encryption",
            "All sites ran on one machine, without encryption, certificates or separate accounts: "
            "whoever can use that machine can read everything. The run shows how the method "
            "learns, not how a real network is protected.",
        )
    if encrypted:
        return Finding(
            "Encrypted from site to site",
            "Models were encrypted by the sender for its partner; the server that passed them on "
            "could not read them.",
            True,
        )
    return Finding(
        "The relaying server could read the models",
        "Models were not encrypted from site to site: the server that passed them on could read "
        "every one of them.",
    )


_COLLECTED = (
    " At the end, every site's model also went to one party, which averaged them into the shared "
    "model."
)
_POOLED = Finding(
    "All images in one place",
    "This reference run needs the images of all sites in one place. It is meant for public or "
    "simulated images and must not be run on patients' images of several hospitals.",
)
_LIARS = Finding(
    "A site that lies is not caught",
    "Messages are checked for sender, round, shape and finite numbers. A site that trains on wrong "
    "labels or changes its model on purpose passes these checks, and the EMD agreement does not "
    "reveal it.",
)
_CONTENT = Finding(
    "Images stayed where they were",
    "The messages between sites carried models and numbers; no image, mask or patient identifier "
    "is part of any message.",
    True,
)
_REPORT = Finding(
    "This report itself",
    "Site and corpus names, image counts, losses and accuracies are shown as they were measured, "
    "without noise. Overlays, where there are any, show images. Check both before you pass the "
    "report on.",
)
