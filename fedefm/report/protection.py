"""What a run protected and what it did not, in sentences that a privacy officer can act on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedefm.report.numbers import epsilon, listed
from fedefm.report.record import RunRecord
from fedefm.report.sentences import scenario_of
from fedefm.report.shared_noise import trust_needed


@dataclass(frozen=True)
class Finding:
    """One thing that was, or was not, protected."""

    title: str
    text: str
    protected: bool = False


def findings(record: RunRecord) -> list[Finding]:
    """All findings, the unprotected first. What is not recorded as protected is unprotected."""
    told = _protection(record)
    scenario, private = scenario_of(record), is_private(record)
    found = [_privacy(private), *([_OUTSIDE_EPSILON] if private else [])]
    if trust := trust_needed(dict(privacy_rows(record))):
        found.append(Finding("The noise rests on other sites", trust))
    if scenario == "centralized":
        found.append(_POOLED)
    elif scenario != "local":
        hidden = bool(told.get("secure_sums"))
        found += [
            _hidden_sums(record, told) if hidden else _plain_sums(record, scenario, private),
            *_single(told.get("single_releases") or (), hidden, private),
            _transport(bool(told.get("end_to_end_encryption")), bool(told.get("simulated"))),
            _LIARS,
            _CONTENT,
        ]
    if scenario == "local" and told.get("simulated"):
        found.append(_transport(False, True))
    sums_alone = bool(told.get("secure_sums"))
    found.append(_REPORT_OF_PRIVATE if private else _REPORT_OF_SUMS if sums_alone else _REPORT)
    return sorted(found, key=lambda finding: finding.protected)


def summary(record: RunRecord) -> str:
    """The protection in a few words, for the head of the page."""
    told = _protection(record) | {"differential_privacy": is_private(record)}
    kinds = (
        ("differential_privacy", "differential privacy"),
        ("secure_sums", "secure sums"),
        ("end_to_end_encryption", "encryption"),
    )
    held = [name for key, name in kinds if told.get(key)]
    missing = [name for key, name in kinds if not told.get(key)]
    parts = [f"with {listed(held)}"] if held else []
    return "; ".join([*parts, f"without {', '.join(missing)}"] if missing else parts)


def in_short(record: RunRecord) -> str:
    """What can be found out about one patient, in one sentence."""
    if not is_private(record):
        return (
            "Nothing limits what the models reveal about one patient: the run was without "
            "differential privacy, and the model is to be kept as carefully as the images."
        )
    told = [spent for _, spent in privacy_rows(record) if spent]
    if not told:
        return "Sites added noise while they trained; how much privacy that gives is not told."
    most = max(told, key=lambda spent: spent["epsilon"])
    bound = "At most epsilon" if len(told) > 1 or "at_most" in most else "Epsilon"
    return (
        f"{bound} {epsilon(most['epsilon'])} at delta {most.get('delta')} was spent for each "
        f"{most.get('unit', 'patient')} of a site: a limit to what the models reveal about one."
    )


def is_private(record: RunRecord) -> bool:
    """Whether every site trained with differential privacy.

    An interrupted run has no result; then the sites' plans speak for it.
    """
    told = _protection(record).get("differential_privacy")
    if told is not None:
        return bool(told)
    planned = {event["site"] for event in record.of("privacy_planned")}
    return bool(record.sites) and planned >= set(record.sites)


def privacy_rows(record: RunRecord) -> list[tuple[str, dict[str, Any] | None]]:
    """What each site's ledger says of this run, None where it trained without a guarantee.

    ``at_most`` marks what was planned, where a run ended without saying what was spent. Empty where
    no site has anything to say.
    """
    told: dict[str, Any] = {}
    for event in record.of("privacy_planned"):
        told[event["site"]] = {**event, "at_most": True}
    for event in record.of("privacy_spent"):
        told[event["site"]] = event
    told |= {site: spent for site, spent in (record.result.get("privacy") or {}).items() if spent}
    return [(site, told.get(site)) for site in record.sites] if any(told.values()) else []


def _protection(record: RunRecord) -> dict[str, Any]:
    where = record.started.get("where")
    assumed = {
        "simulated": where != "prod",
        "secure_sums": record.setting("privacy", "secagg") is not None,
        "single_releases": record.started.get("single_releases"),
    }
    return {**assumed, **(record.result.get("protection") or {})}


def _privacy(on: bool) -> Finding:
    if on:
        return Finding(
            "Differential privacy",
            "Sites added noise while they trained, their own model and the ones that they hosted. "
            "The table below says how strongly this limits what the exchanged models, and the "
            "final one, can reveal about one patient; an epsilon says nothing without its unit, "
            "adjacency, sampling and accountant.",
            True,
        )
    return Finding(
        "No differential privacy",
        "Nothing limits what the exchanged models, or the final one, reveal about a single "
        "patient. Who holds such a model can test whether a known image was used to train it and "
        "may recover parts of images. The model is not anonymous data: treat it with the same "
        "care as the images.",
    )


def _hidden_sums(record: RunRecord, told: dict[str, Any]) -> Finding:
    colluders = record.setting("privacy", "secagg", "colluders") or 1
    pooled = f", even where {colluders} parties pool what they see" if colluders > 1 else ""
    return Finding(
        "Secure sums",
        "Models were added up under masks: a receiver saw the sum over a group of sites and no "
        f"single site's part{pooled}. Losses, counts and accuracies were told as "
        "sums, too. A sum over few sites still says much about them; only differential privacy "
        "bounds that."
        f"{_ONE_HOLDER if told.get('simulated') else ''}",
        True,
    )


def _single(kinds: Sequence[str], hidden: bool, private: bool) -> list[Finding]:
    """What left a site as it was in a run whose sums were secure."""
    if not hidden or not kinds:
        return []
    came_back = ", and what the partner made of it came back" if "experts" in kinds else ""
    return [
        Finding(
            "Single models beside the secure sums",
            f"To be trained as an expert, a site's whole model went to one partner{came_back}. No "
            "sum can hide these: the partner could search the model for traces of the site's "
            f"patients{_BOUNDED if private else ''}.",
        )
    ]


def _plain_sums(record: RunRecord, scenario: str, private: bool) -> Finding:
    receiver = "The server received each site's"
    if scenario != "client_server":
        receiver = "Every partner of a site received that site's"
    return Finding(
        "No secure sums",
        f"{receiver} whole model, not only a sum over many sites, and could search it for traces "
        f"of the site's patients{_BOUNDED if private else ''}."
        f"{_COLLECTED if any(record.of('published')) and scenario == 'decentralized' else ''}",
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


_BOUNDED = "; what it can find is bounded by the site's epsilon"
_ONE_HOLDER = (
    " In this simulation one holder had the keys of all sites: it shows that the sums work, and "
    "hid nothing from whoever ran it."
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
_OUTSIDE_EPSILON = Finding(
    "What epsilon does not cover",
    "Accuracies, and which corpus was taken for which, are of validation and test images, and are "
    "told without noise; so are running times. Settings that were tried before this run, on the "
    "same patients, are runs of their own. A patient known to two hospitals is trained on twice, "
    "and the two epsilons add up.",
)
_REPORT_OF_PRIVATE = Finding(
    "This report itself",
    "Site names, declared labels and the accuracies on validation and test images are shown as "
    "they are, without noise. Overlays, where there are any, show images. Check both before you "
    "pass the report on.",
)
_REPORT_OF_SUMS = Finding(
    "This report itself",
    "Site names are shown as they are, and losses, counts and accuracies as sums over sites, "
    "without noise. Overlays, where there are any, show images. Check both before you pass the "
    "report on.",
)
_REPORT = Finding(
    "This report itself",
    "Site and corpus names, image counts, losses and accuracies are shown as they were measured, "
    "without noise. Overlays, where there are any, show images. Check both before you pass the "
    "report on.",
)
