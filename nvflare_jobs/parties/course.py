"""Which rounds a site may still play in a job: none twice, whichever of its processes asks.

Two sums of one round could differ by a single site's part. So a round counts as played, on the
disk, before the first thing is done in it.
"""

from fedefm.errors import ProtocolError
from fedefm.train.state import PartyState
from nvflare_jobs.parties.saved_run import SavedRun


class Course:
    """The rounds of one job at ``site``, of which ``last`` counts as the one that publishes."""

    def __init__(self, site: str, saved: SavedRun, last: int) -> None:
        self._site, self._saved, self._last = site, saved, last
        begun = saved.begun
        self._next_round = begun.next_round if begun else 0  # none before is played, or again
        measured = begun.measured if begun else None
        self._next_measured = 0 if measured is None else measured + 1

    @property
    def goes_on_with(self) -> int | None:
        """The round that another process of this job would have played next; None if no such."""
        taken_over = self._saved.has_begun and self._next_round <= self._last
        return self._next_round if taken_over else None

    def open(self, rounds: int) -> tuple[int, PartyState | None]:
        """Go on after ``rounds`` finished rounds: with which round, and with which state.

        Afresh without a state where they are 0, and from its newest state before them where the
        site was away in the last ones. Where another process of this job was at work before, after
        the newest round that it had begun, with what it saved last. Raises ConfigError where there
        is no state, ProtocolError where that process may have published.
        """
        if self._saved.has_begun:
            return self._next_round, self._taken_over()
        if rounds == 0:
            self._saved.begin()
            return 0, None
        return rounds, self._saved.newest(rounds)

    def opened(self, rounds: int) -> None:
        """The site stands as ``open`` says, so newer states that a resumed job finds can go."""
        if rounds > 0 and not self._saved.has_begun:
            self._saved.go_on(rounds)
        self._next_round = max(rounds, self._next_round)

    def play_no_more(self, round_index: int) -> None:
        """This round and none before it, once it is begun. Raises ProtocolError if it was."""
        if round_index < self._next_round:
            raise ProtocolError(
                f"round {round_index} is over at site {self._site!r}, which goes on with round "
                f"{self._next_round} and plays none twice; start a new job, or resume this one"
            )
        self._next_round = round_index + 1
        self._saved.note(played=round_index)

    def measure_no_more(self, round_index: int) -> None:
        """As ``play_no_more``, of what was measured in the round."""
        if round_index < self._next_measured:
            raise ProtocolError(
                f"round {round_index} was measured before, and is not measured again"
            )
        self._next_measured = round_index + 1
        self._saved.note(measured=round_index)

    def played(self, round_index: int, state: PartyState) -> None:
        """Keep the site's state after the round."""
        self._saved.save(round_index + 1, state)

    def _taken_over(self) -> PartyState | None:
        begun = self._saved.begun
        assert begun is not None
        if self._next_round > self._last:
            raise ProtocolError(
                f"this job was published before at site {self._site!r}, or died in it"
            )
        return self._saved.newest_of_this_job(begun)
