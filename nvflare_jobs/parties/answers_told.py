"""What the server writes down of the sites' answers; how they do stands in ``accuracy``."""

from collections.abc import Mapping
from typing import Any

from fedefm.errors import ProtocolError
from fedefm.events import EventLog
from fedefm.train.exchange import SERVER, RoundStats
from fedefm.train.simulate import Outcome
from fedefm.train.telling import tell_rejected, tell_site
from nvflare_jobs.parties.gathering import Answers
from nvflare_jobs.parties.reports import outcome_of


def tell_holdings(log: EventLog, ready: Answers) -> None:
    """How many images of each kind are where, of the sites that say it."""
    told = {site: answer["holdings"] for site, answer in ready.items() if "holdings" in answer}
    if told:
        log.emit("corpora", holdings=told)


def tell_answer(
    log: EventLog, round_index: int, site: str, answer: Mapping[str, Any], asked: bool
) -> str | None:
    """Write down one site's round, in which it was ``asked`` or rested; why it failed, or None."""
    outcome: Outcome[RoundStats] = Outcome()
    reason = _trouble(answer)
    try:
        outcome = outcome_of(answer) if "refused" not in answer else outcome
    except ProtocolError as error:
        reason = str(error)
    tell_site(log, round_index, site, outcome, reason, asked)
    return reason


def tell_troubles(log: EventLog, round_index: int, answers: Answers, server: Outcome[Any]) -> None:
    """What was refused in an exchange of which no site gives a further account."""
    tell_rejected(log, round_index, SERVER, server)
    for site, answer in answers.items():
        told = [*answer.get("rejected", ()), *filter(None, [_trouble(answer)])]
        tell_rejected(log, round_index, site, Outcome(rejected=[str(each) for each in told]))


def sent_by(answers: Answers) -> int:
    """Bytes of all sites together."""
    return sum(int(answer.get("sent_bytes", 0)) for answer in answers.values())


def _trouble(answer: Mapping[str, Any]) -> str | None:
    trouble: str | None = answer.get("refused", answer.get("reason"))
    return trouble
