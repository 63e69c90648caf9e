"""What the report says in words: one or two plain sentences for each of its parts."""

from collections.abc import Mapping, Sequence
from typing import Any

from fedefm.report.measures import Words
from fedefm.report.numbers import (
    count,
    data_size,
    decimal,
    duration,
    epsilon,
    known,
    listed,
    percent,
    ranges,
)
from fedefm.report.record import GLOBAL, POOLED, Holdings, RunRecord, Series

ALGORITHMS = {
    "fedefm": "FedEFM",
    "gossip": "gossip averaging",
    "fedavg": "FedAvg",
    "stagewise": "stages of different tasks",
}
PLACES = {
    "process": "all sites simulated in one process",
    "simulator": "in NVIDIA FLARE's simulator, all sites on one machine",
    "poc": "in a proof-of-concept set-up of NVIDIA FLARE, all sites on one machine",
    "prod": "at real sites, over NVIDIA FLARE",
}


def what_was_run(record: RunRecord) -> str:
    """The run in one sentence: who, what, how long, how, where."""
    sites = count(len(record.holdings() or record.sites), "site")
    what = "masked autoencoder" if record.setting("masking") else "model"
    model = f"one {record.setting('model', 'backbone') or 'foundation'} {what}{_size(record)}"
    model += _start(record)
    rounds = f"for {count(record.rounds_planned, 'round')}"
    where = PLACES.get(str(record.started.get("where")), "")
    scenario = scenario_of(record)
    if scenario == "centralized":
        text = f"The images of {sites} were put in one place to train {model} {rounds}: a reference"
        text += " that shows what could be learned if nothing had to stay where it is"
    elif scenario == "local":
        text = f"{sites} each trained a model of their own {rounds}, without any exchange"
        text += ": a reference that shows what a site can learn alone"
    else:
        text = f"{sites} trained {model} together {rounds}, {_method(record, scenario)}"
    return f"{text}; {where}." if where else f"{text}."


def how_it_ended(record: RunRecord) -> str:
    """One sentence for a run that did not reach its end; empty for one that did."""
    done = "before its first round was over"
    if record.rounds_done:
        done = f"after {count(record.rounds_done, 'complete round')}"
        done += f" of {record.rounds_planned}" if record.rounds_planned else ""
    if record.status == "quorum lost":
        return (
            f"The run stopped {done}, because too few sites took part. The numbers below end there."
        )
    if record.status != "finished":
        return f"The run was interrupted {done}. Everything below is what had happened until then."
    return ""


def scenario_of(record: RunRecord) -> str:
    """decentralized, client_server, local, centralized, or empty where unknown."""
    told = record.started.get("scenario") or record.result.get("scenario")
    return str(told or record.setting("federation", "scenario") or "")


def score_meaning(
    score: float | None,
    interval: tuple[float, float] | None,
    references: Sequence[tuple[str, float]],
    final: bool,
    words: Words,
) -> str:
    """What the shared model's score means. ``references`` are levels with a name."""
    if not known(score):
        return f"The {words.noun} of the shared model was not measured."
    text = f"The shared model {words.does(score, 'the held-out images')}"
    if not final:
        text = f"So far, the shared model {words.does(score, 'the images')}"
    if interval:
        low, high = map(percent, interval)
        text += f" (95\u00a0% interval over patients: {low} to {high})"
    levels = [f"{name} gives {percent(level)}" for name, level in references]
    return f"{text}. For comparison: {listed(levels)}." if levels else f"{text}."


def measured_once(split: str, series: Series, words: Words) -> str:
    """What was measured where it was in too few rounds to be drawn; empty where it was not."""
    if not series:
        return ""
    name = next((name for name in (POOLED, GLOBAL) if name in series), None)
    if name is None or (name == GLOBAL and len(series) > 1):
        return f"{words.title} was measured in one round only; the table has it."
    number, value = series[name][-1]
    text = f"{words.title} was measured in one round only, round {number}: "
    if name == GLOBAL:
        return f"{text}the shared model {words.does(value, f'the {split} images of all sites')}."
    return (
        f"{text}together, the models that the sites hold reach {percent(value)} on the sites' own "
        f"{split} images. No site's own {words.noun} is known."
    )


def planned_spend(event: Mapping[str, Any]) -> str:
    """What a site will spend at most in a private run, and on what."""
    adjacency = str(event["adjacency"]).replace("_", " ")
    text = (
        f"{event['site']}: epsilon {epsilon(event['epsilon'])} at delta {event['delta']:g} for "
        f"each of {count(event['units'], event['unit'])} ({adjacency}), in "
        f"{count(event['steps'], 'step')} with noise multiplier {event['noise_multiplier']:.4g} "
        f"and sampling rate {event['sampling_rate']:.4g}"
    )
    if event.get("noise_shares", 1) > 1:
        text += f", made by at least {event['noise_shares']} honest sites together"
    costs = event.get("costs") or {}
    if not costs:
        return text
    text += f"; alone, a step costs {epsilon(costs['step'])}"
    text += f" and the fullest round {epsilon(costs['round'])}"
    return f"{text}; one more hosted neighbor adds {epsilon(costs['guest'])}"


def corpora_meaning(holdings: Holdings) -> str:
    """How much of the corpora only one site knows."""
    holders: dict[str, int] = {}
    for corpora in holdings.values():
        for corpus, splits in corpora.items():
            holders[corpus] = holders.get(corpus, 0) + (splits.get("train", 0) > 0)
    alone = sum(number == 1 for number in holders.values())
    noun = "corpus" if len(holders) == 1 else "corpora"
    text = f"{count(len(holdings), 'site')} held {len(holders)} {noun}"
    if alone == len(holders):
        return f"{text}, each at one site only: the others can know it through the exchange alone."
    if not alone:
        return f"{text}; each of them was held by more than one site."
    return (
        f"{text}; {alone} of them at one site only, so that the others can know these through the "
        "exchange alone."
    )


def participation_meaning(
    sites: Sequence[str], missed: Mapping[str, Sequence[int]], some_rest: bool = False
) -> str:
    """Who missed how many rounds; ``some_rest``: not every site was asked in each."""
    if not any(missed.values()):
        whole = f"All {count(len(sites), 'site')} took part in every round"
        if some_rest:
            return f"{whole} in which they were asked; the server asks some of them in each."
        return f"{whole} of which there is a record."
    parts = [
        f"{site} missed {count(len(rounds), 'round')} ({ranges(rounds)})"
        for site, rounds in missed.items()
        if rounds
    ]
    return f"{'; '.join(parts)}. A round counts as missed when the site was late, failed or absent."


def unmoved_meaning(rounds: Sequence[int]) -> str:
    """In which rounds what the sites had trained came to nothing; empty where there are none."""
    if not rounds:
        return ""
    return (
        f"In {count(len(rounds), 'round')} ({ranges(rounds)}) the server could open no sum, and "
        "the shared model stayed as it was."
    )


def traffic_meaning(
    record: RunRecord, total: float | None, by_round: Sequence[tuple[int, float]]
) -> str:
    """Bytes in all, a round, for publishing, next to the size of the model."""
    if not known(total):
        return "The traffic was not measured."
    if not total:
        return "Nothing was sent: in this run no site exchanged models."
    text = f"{data_size(total)} were sent in all"
    if by_round:
        text += f", {data_size(sum(size for _, size in by_round) / len(by_round))} a round"
    collected = [event.get("sent_bytes") or 0 for event in record.of("published")]
    published = collected[-1] if collected else 0  # what was done again counts once
    if published:
        text += f", and {data_size(published)} at the end to form the shared model"
    model = record.started.get("model_bytes")
    return f"{text}. The model itself is {data_size(model)}." if known(model) else f"{text}."


def time_meaning(record: RunRecord) -> str:
    """Wall time of the rounds and what it went into."""
    if not record.rounds_done:
        return "No round was over, so no time was measured."
    seconds = record.result.get("seconds") or {}
    text = f"The rounds took {duration(record.seconds)}"
    if known(seconds.get("train")) and known(seconds.get("exchange")):
        text += (
            f"; added up over the sites, {duration(seconds['train'])} went into training "
            f"and {duration(seconds['exchange'])} into exchanging"
        )
    return f"{text}."


def together(record: RunRecord) -> str:
    """On how much all sites trained, where they told that as a sum; else empty."""
    sizes = [event for event in record.of("metrics") if known(event.get("trained_on"))]
    if not sizes or record.setting("stagewise") is not None:  # else of the last stage alone
        return ""
    last = sizes[-1]
    return (
        f"Together, {count(last.get('sites'), 'site')} trained on {count(last['trained_on'])} "
        "images, or patients where training was private."
    )


def agreement_meaning(low: float, high: float, in_sums: bool = False) -> str:
    """How far apart the pairs are, or how far the mean over all sites went."""
    if in_sums:
        return (
            f"The sites told it as a sum: its mean over them lay between {decimal(low, 2)} and "
            f"{decimal(high, 2)}."
        )
    return f"The pairs lie between {decimal(low, 2)} and {decimal(high, 2)}."


def cost_meaning(record: RunRecord) -> str:
    """What the run cost, in one sentence; empty where nothing is known of it."""
    if not record.rounds_done:
        return ""
    sent = f"{data_size(record.sent_bytes)} were sent in all"
    text = sent if record.sent_bytes else "Nothing was sent"
    return f"{text}, and the rounds took {duration(record.seconds)}."


def _method(record: RunRecord, scenario: str) -> str:
    told = record.started.get("algorithm") or record.result.get("algorithm")
    algorithm = str(told or record.setting("federation", "algorithm") or "an unknown algorithm")
    text = f"by {ALGORITHMS.get(algorithm, algorithm)}"
    if algorithm == "fedefm" and (update := record.started.get("update")):
        text += f" (update “{update}”)"
    if scenario == "client_server":
        return f"{text} through a server"
    topology = record.started.get("topology") or record.setting("federation", "topology")
    return f"{text} between neighbors (topology “{topology}”, no server takes part in the rounds)"


def _start(record: RunRecord) -> str:
    start, last = record.started.get("start"), record.started.get("train_last")
    parts = [f"started from “{start}”"] if start else []
    if known(last):
        parts.append(f"of which only the last {count(last, 'block')} and the head could change")
    return f", {', '.join(parts)}," if parts else ""


def _size(record: RunRecord) -> str:
    parameters, size = record.started.get("parameters"), record.started.get("model_bytes")
    if not known(parameters):
        return ""
    text = f"{parameters / 1e6:.2g} million" if parameters >= 1e5 else f"{parameters:,.0f}"
    return f" ({text} parameters{', ' + data_size(size) if known(size) else ''})"
