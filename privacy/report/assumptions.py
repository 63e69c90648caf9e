"""On what the numbers rest, and what they do not cover: sentences for somebody who must decide.

After the base of NIST SP 800-226's pyramid (trust, side channels, collection of the data) and the
list of "How to DP-fy ML" (arXiv 2303.00654, section 5.3: what else was done with the data).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from privacy.report.facts import DatasetFacts
from privacy.report.numbers import epsilon


@dataclass(frozen=True)
class Assumption:
    """Something that must hold (``covered``), or that no number here says anything about."""

    title: str
    text: str
    covered: bool = False


def assumptions(datasets: Sequence[DatasetFacts]) -> Sequence[Assumption]:
    """What must hold first, then what is not covered."""
    units = sorted({dataset.unit for dataset in datasets}, reverse=True) or ["patient"]
    held = [_unit(unit) for unit in units] + [_number(dataset) for dataset in datasets]
    trusted = [_trust(dataset) for dataset in datasets if dataset.shares > 1]
    return [*held, _sampling(" or ".join(units)), _NOISE, *trusted, _PUBLIC_START, *_NOT_COVERED]


def _unit(unit: str) -> Assumption:
    if unit == "patient":
        text = (
            "All images under one pseudonym are one patient. A person with two pseudonyms counts "
            "as two, and is protected by twice the epsilon at best, with a larger delta."
        )
        return Assumption("One pseudonym is one patient", text, True)
    text = (
        "The account protects single images. A patient with many images is protected much less: "
        "the epsilon grows with every image of the same person."
    )
    return Assumption("One image, not one patient", text, True)


def _number(dataset: DatasetFacts) -> Assumption:
    numbers = sorted({use.mechanism.dataset_size for use in dataset.uses})
    told = " and ".join(f"{number:,}" for number in numbers[:4]) or "none used yet"
    return Assumption(
        f"The number of {dataset.unit}s of “{dataset.name}” is public",
        f"The sampling rate and the mean of a step are taken over the number of {dataset.unit}s "
        f"({told}), which is treated as known to everybody. So are the settings of the run, the "
        "names of the labels and who took part when.",
        True,
    )


def _sampling(unit: str) -> Assumption:
    return Assumption(
        "Drawn at random, each time, in secret",
        f"In every step each {unit} is drawn with the same probability, independently of all "
        "others and with randomness from the operating system that nobody outside can repeat; "
        f"where too many are drawn, a random part of them stays. Each {unit} drawn adds a gradient "
        "of bounded length. The account counts exactly this sampling, not a shuffled list.",
        True,
    )


def _trust(dataset: DatasetFacts) -> Assumption:
    shares, alone = dataset.shares, dataset.own_noise
    left = "" if alone is None else f" If nobody else is, epsilon is {epsilon(alone)}."
    return Assumption(
        f"Honest noise of other sites, for “{dataset.name}”",
        f"In some runs this site added a share of the noise only, as its policy allows "
        f"(noise_shares). Their epsilon counts on up to {shares} sites, this one among them, that "
        "are in each sum and honest: they add their share and keep it to themselves. With k of "
        f"them the noise is sqrt(k/{shares}) of what is counted.{left} Members open no sum of "
        "fewer; whether the others are honest, this ledger cannot see.",
        True,
    )


_NOISE = Assumption(
    "Noise from the operating system's generator",
    "Gaussian noise is added to the sum of each step, rounded to a grid. The proof is about real "
    "numbers; what rounding in the computation before it could give away is not counted.",
    True,
)

_PUBLIC_START = Assumption(
    "A public start",
    "Weights that a run started from came from public images, or from training that is in a "
    "ledger.",
    True,
)

_NOT_COVERED = (
    Assumption(
        "A patient known to two hospitals adds up",
        "Each hospital counts its own patients. Somebody who is a patient of two hospitals that "
        "both trained is protected by the sum of both epsilons and deltas, which no ledger sees.",
    ),
    Assumption(
        "The same patients under two names add up",
        "Datasets that hold the same patients must share one budget in the site file; two budgets "
        "are counted as if their patients were different people.",
    ),
    Assumption(
        "Validation and test patients, and metrics on them",
        "Accuracies measured on held-out patients are exact. They say something about those "
        "patients, who are in no account; the policy's allowed_metrics decides what is told.",
    ),
    Assumption(
        "Tuning",
        "Settings (learning rate, clipping, rounds) that somebody chose by looking at these "
        "patients' images, or by trials that are not in this ledger, have told something about "
        "them that is not counted. Trials that ran as jobs here are counted, each in full.",
    ),
    Assumption(
        "Time and size",
        "How long a step took, how much memory it used, and whether a site answered in time may "
        "depend on the images. Nothing here bounds what a stop-watch shows.",
    ),
    Assumption(
        "Other ways out",
        "Exports, screenshots, logs of other software, models trained outside of this ledger, and "
        "people who saw the images are not counted.",
    ),
    Assumption(
        "The site's own people and machine",
        "The noise is added here, so whoever operates this machine sees images, gradients and the "
        "ledger's key. The chain and its signatures show changes made without the key, and old "
        "copies where a head is known outside; they do not stop an operator who wants to cheat.",
    ),
)
