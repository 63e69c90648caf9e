"""The errors that a user meets. Each message names the thing, the value and the way out.

The command line prints these as one sentence and ends with exit code 2; any other exception is a
defect of ours. No message may carry a patient identifier.
"""

from collections.abc import Sequence


class FedEFMError(Exception):
    """Base of every error that is the user's to mend."""


class ConfigError(FedEFMError):
    """A run file or site file that cannot be used."""


class SiteFileError(ConfigError):
    """A site's own file that cannot be used. It quotes the file, so it is for the site alone."""


class DataError(FedEFMError):
    """Images, masks or a manifest that cannot be used."""


class ModelError(FedEFMError):
    """A model or checkpoint that does not fit."""


class ProtocolError(FedEFMError):
    """Something that went wrong between sites."""


class QuorumLost(ProtocolError):
    """Fewer sites answered than the run file demands."""


class MessageRejected(ProtocolError):
    """A message that its receiver must not use; it counts as not arrived."""


class SumAborted(ProtocolError):
    """A secure sum that ended without a result, and without having exposed anybody's part."""


class PrivacyError(FedEFMError):
    """A privacy promise that would be broken by going on.

    ``for_others`` says it to those who may know neither what the site holds nor what its ledger
    and its cap do; the sentence itself where that tells nothing of them.
    """

    def __init__(self, sentence: str, for_others: str = "") -> None:
        super().__init__(sentence)
        self._for_others = for_others

    @property
    def for_others(self) -> str:
        return self._for_others or str(self)


class BudgetExhausted(PrivacyError):
    """The ledger has too little epsilon left for what was asked."""

    def __init__(
        self,
        sentence: str,
        for_others: str = "too little epsilon is left; ask the site's privacy officer",
    ) -> None:
        super().__init__(sentence, for_others)


class PolicyRefused(PrivacyError):
    """The site's own policy forbids what the job asks for."""


class LedgerCorrupt(PrivacyError):
    """The ledger's chain or signature does not verify."""


class ProvisionError(FedEFMError):
    """A project file, kit or site installation that cannot be used."""


def all_problems(what: str, problems: Sequence[str], limit: int = 20) -> str:
    """One message out of many findings, so that a user mends them in one go."""
    if len(problems) == 1:
        return f"{what}: {problems[0]}"
    shown = [f"  - {problem}" for problem in problems[:limit]]
    if len(problems) > limit:
        shown.append(f"  - ... and {len(problems) - limit} more")
    return f"{what} has {len(problems)} problems:\n" + "\n".join(shown)
