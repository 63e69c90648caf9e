"""After which round a resumed job goes on: all who take part must have a state of it, or enough."""

from collections.abc import Collection, Mapping

from fedefm.errors import ProtocolError


def newest_common(saved: Mapping[str, Collection[int]], recorded: int | None, needed: int) -> int:
    """After how many rounds to go on: the newest that all have, else that ``needed`` have.

    ``saved`` are the rounds by party, and ``recorded`` is what the run's record knows, where there
    is one. Gives 0 where there are no states at all, and raises ProtocolError where there are, but
    none that enough share.
    """
    if recorded is not None:  # sites may be one round ahead of what was told
        saved = {party: [n for n in have if n <= recorded] for party, have in saved.items()}
    rounds = [set(have) for have in saved.values()]
    everyone = set.intersection(*rounds)
    if everyone:
        return max(everyone)
    known = sorted(set.union(*rounds), reverse=True)
    shared = [n for n in known if sum(n in have for have in rounds) >= needed]
    if not shared and (known or recorded):
        raise ProtocolError(
            "the sites have saved no common state of this run to go on with; "
            "start a new run without --resume"
        )
    return shared[0] if shared else 0
