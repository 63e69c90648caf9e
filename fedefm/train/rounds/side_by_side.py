"""Several protocols of one party at once, each with other parties."""

from collections.abc import Sequence

from fedefm.train.exchange import Exchange, Inbox, Result, Steps


def side_by_side(protocols: Sequence[Steps[Result]]) -> Steps[list[Result]]:
    """Drive ``protocols`` in lock-step, so that nobody waits for one of them to end; their results.

    Their phases have to be alike, as those of sums of one length are. One may end before another.
    Raises ValueError where two speak to, or wait for, the same party, or are of unlike phases. An
    error of one ends all; sessions of one secure sum, which may fail alone, are driven by
    ``privacy.secagg.together``.
    """
    results: dict[int, Result] = {}
    waiting: dict[int, Exchange] = {}

    def advance(place: int, inbox: Inbox | None) -> None:
        try:
            steps = protocols[place]
            waiting[place] = next(steps) if inbox is None else steps.send(inbox)
        except StopIteration as ended:
            results[place] = ended.value

    try:
        for place in range(len(protocols)):
            advance(place, None)
        while waiting:
            inbox = yield _merged(list(waiting.values()))
            for place, exchange in sorted(waiting.items()):
                del waiting[place]
                own = {sender: inbox[sender] for sender in inbox if sender in exchange.expect}
                advance(place, own)
        return [results[place] for place in range(len(protocols))]
    finally:
        for steps in protocols:
            steps.close()


def _merged(exchanges: Sequence[Exchange]) -> Exchange:
    first, *others = sorted(exchanges, key=lambda one: not one.expect)  # whose shapes matter first
    receivers = [name for one in exchanges for name in one.outgoing]
    senders = [name for one in exchanges for name in one.expect]
    for one in others:
        alike = (one.phase, one.step) == (first.phase, first.step)
        if not alike or (one.expect and one.shapes != first.shapes):
            raise ValueError(f"{one.phase!r} and {first.phase!r} cannot go side by side")
    if len(set(receivers)) < len(receivers) or len(set(senders)) < len(senders):
        raise ValueError(f"two protocols need the same party in {first.phase!r}")
    outgoing = {name: message for one in exchanges for name, message in one.outgoing.items()}
    return Exchange(first.phase, outgoing, frozenset(senders), first.shapes, first.step)
