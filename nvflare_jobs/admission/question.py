"""What is asked about a job: the job as it was deployed, and whose word is wanted."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One job at one site.

    Args:
        config: the text of the job's configuration for the site.
        scope: the privacy scope that the job names; empty for the site's default.
        kit: the folder of the site's kit, and ``local`` the one with its own files.
        encrypted: whether messages travel encrypted from end to end.
    """

    site: str
    config: str
    scope: str
    kit: str
    local: str
    encrypted: bool
