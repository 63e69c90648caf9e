"""What the site's policy allows, in words, and where it contradicts itself."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from fedefm.config import PolicyConfig, SiteConfig
from fedefm.words import several
from privacy.policy import rounded_down
from provisioning.finding import Finding, ok, problem, warning

NOT_COUNTED: Mapping[str, int] = MappingProxyType({})
METRICS = frozenset({"loss", "accuracy", "images", "seconds", "similarity", "budget"})


def check_policy(settings: SiteConfig, units: Mapping[str, int] = NOT_COUNTED) -> list[Finding]:
    """What is allowed, and then each thing that cannot be meant so.

    ``units`` is how many patients (or images) were counted in datasets, by their names.
    """
    told = [ok("policy", _in_words(settings.policy))]
    return [*told, *_contradictions(settings), *_large_deltas(settings, units)]


def _in_words(policy: PolicyConfig) -> str:
    runs = "private runs only" if policy.require_dp else "private and other runs"
    cap = policy.epsilon_cap
    if cap is not None:
        runs = f"private runs up to epsilon {cap:g} at delta {policy.delta:g} over all of them"
    wire = "" if policy.require_encryption else "; also unencrypted"
    others = "1 other" if policy.min_cohort == 1 else f"{policy.min_cohort} others"
    told = ", ".join(policy.allowed_metrics) or "nothing"
    return f"{runs}{wire}; in secure sums with at least {others}; tells {told}"


def _contradictions(settings: SiteConfig) -> Iterator[Finding]:
    policy = settings.policy
    if settings.ledger is None:
        for name, demanded in (
            ("epsilon_cap", policy.epsilon_cap is not None),
            ("require_dp", policy.require_dp),
        ):
            if demanded:
                yield problem(
                    "policy",
                    f"{name} is set and there is no ledger, so every run is refused",
                    "name a `ledger` in the site file",
                )
    elif policy.epsilon_cap is None:
        yield warning(
            "policy",
            "there is a ledger and no epsilon_cap: what runs spend is written down, and nothing "
            "is ever too much",
            "set policy.epsilon_cap",
        )
    if not policy.require_dp and policy.epsilon_cap is None:
        yield warning(
            "policy",
            "runs without differential privacy are allowed, which may tell of single patients and "
            "are counted nowhere; a new kit allows none",
            "set policy.require_dp and policy.epsilon_cap, and a `ledger`",
        )
    if policy.colluders >= policy.min_cohort:
        yield warning(
            "policy",
            f"colluders {policy.colluders} is not below min_cohort {policy.min_cohort}: in a sum "
            "with so few others all of them could collude, so larger ones are demanded anyway",
            f"set policy.min_cohort to at least {policy.colluders + 1}",
        )
    if not policy.require_encryption:
        yield warning(
            "policy",
            "require_encryption is off: models may pass the server readable",
            "leave it on; a provisioned project always encrypts",
        )
    unknown = sorted(set(policy.allowed_metrics) - METRICS)
    if unknown:
        yield warning(
            "policy",
            f"allowed_metrics names {', '.join(unknown)}, which no site tells",
            f"choose from {', '.join(sorted(METRICS))}",
        )


def _large_deltas(settings: SiteConfig, units: Mapping[str, int]) -> Iterator[Finding]:
    """Where the policy's delta is above one over whom a dataset protects, published or counted."""
    policy = settings.policy
    for name, entry in settings.datasets.items():
        published = entry.patients if entry.unit == "patient" else None
        number = published or units.get(name)
        if not number or policy.delta <= 1 / number:
            continue
        said = (
            f"delta {policy.delta:g} is above one over the {several(number, entry.unit)} of "
            f"{name!r}, so that"
        )
        fix = f"set policy.delta to at most {rounded_down(1 / number)}"
        if policy.epsilon_cap is None:
            yield warning("policy", f"{said} only private runs with a smaller one may run", fix)
        else:
            yield problem("policy", f"{said} every private run is refused", fix)
