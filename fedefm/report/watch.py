"""Where a run stands, kept up to date event by event; what the progress displays show."""

from dataclasses import dataclass, field

from fedefm.events import Event
from fedefm.report.headline import TIME
from fedefm.report.measures import ACCURACY, Words, measured_as
from fedefm.report.numbers import decimal, duration, known, listed, percent
from fedefm.report.record import GLOBAL
from fedefm.train.totals import sent_and_taken


@dataclass
class SiteState:
    """The last that was heard of one site."""

    status: str = "waiting"
    round: int | None = None
    loss: float | None = None
    score: float | None = None  # of its own model, on its own images
    waiting: float | None = None  # seconds of the last round in neither training nor exchanging


@dataclass
class RunState:
    """The last that was heard of a run."""

    rounds: int = 0
    round: int = 0
    seconds: float | None = None  # of the last round
    words: Words = ACCURACY  # for what models are worth
    score: float | None = None  # of the shared model
    split: str = ""  # on whose images: validation in rounds, test at the end
    own_score: float | None = None  # of the sites' own models together, where sums are told
    loss: float | None = None  # of all sites together, where sums are told
    measured: int | None = None  # the round of the last scores, and of that loss
    missing: dict[str, str] = field(default_factory=dict)
    sites: dict[str, SiteState] = field(default_factory=dict)
    told: list[Event] = field(default_factory=list)  # of rounds: when they began and ended

    def take(self, event: Event) -> None:
        """Bring the state up to date. Events of other kinds change nothing."""
        kind = event["event"]
        if kind in ("round_started", "round_finished"):
            self.told.append(event)
        if kind == "run_started":
            self.rounds, self.words = event["rounds"], measured_as(event)
            self.sites = {site: SiteState() for site in event["sites"]}
        elif kind == "round_started":
            self.round = event["round"]
            for site in self.sites.values():
                site.status = "training"
        elif kind == "round":
            self._take_turn(event)
        elif kind == "evaluated":
            self._take_score(event)
        elif kind == "metrics":
            self._take_sum(event)
        elif kind == "round_finished":
            self._take_end(event)

    def line(self) -> str:
        """The last round in one line, with what was measured in it."""
        losses = [s.loss for s in self.sites.values() if s.loss is not None and known(s.loss)]
        parts, now = [f"round {self.round + 1}/{self.rounds}"], self.measured == self.round
        if loss := sum(losses) / len(losses) if losses else self.loss if now else None:
            parts.append(f"loss {decimal(loss)}")
        if now and self.own_score is not None:
            parts.append(f"own models {percent(self.own_score)}")
        if now and self.score is not None:
            parts.append(f"{self.words.noun} {percent(self.score)}")
        parts.append(duration(self.seconds))
        if self.missing:
            parts.append(f"without {listed(f'{s} ({why})' for s, why in self.missing.items())}")
        return ", ".join(parts)

    def end(self, status: str) -> str:
        """How the run ended, and what the rounds took that were seen here."""
        _, seconds = sent_and_taken(self.told)
        return f"{status}; {TIME}: {duration(seconds)}" if seconds else status

    def shared(self) -> str:
        """What is known of the shared model and of all sites together, or nothing."""
        own = None if self.own_score is None else f"own models: {percent(self.own_score)}"
        shared = None if self.score is None else f"shared model: {percent(self.score)}"
        known_ones = [each for each in (own, shared) if each]
        return f"{', '.join(known_ones)} {self.words.noun}" if known_ones else ""

    def _site(self, name: str) -> SiteState:
        return self.sites.setdefault(name, SiteState())

    def _take_turn(self, event: Event) -> None:
        site = self._site(event["site"])
        site.status, site.round = event["status"], event["round"]
        site.loss = event.get("loss") if known(event.get("loss")) else site.loss
        seconds = [event.get(k) for k in ("seconds", "train_seconds", "exchange_seconds")]
        if all(known(value) for value in seconds):
            total, train, exchange = (float(value or 0) for value in seconds)
            site.waiting = max(0.0, total - train - exchange)

    def _take_score(self, event: Event) -> None:
        self.measured = event["round"]
        if event["site"] == GLOBAL:
            self.score, self.split = event[self.words.name], event.get("split") or ""
        elif "model" not in event:  # else how the shared model does there
            self._site(event["site"]).score = event[self.words.name]

    def _take_sum(self, event: Event) -> None:
        self.measured = event["round"]
        if event["model"] == GLOBAL:
            self.score, self.split = event[self.words.name], event.get("split") or ""
        else:
            self.own_score, self.loss = event[self.words.name], event["loss"]

    def _take_end(self, event: Event) -> None:
        self.round, self.seconds = event["round"], event["seconds"]
        self.missing = dict(event.get("missing") or {})
        for name in self.missing:
            site = self._site(name)
            site.status = site.status if site.status in ("late", "failed") else "absent"
