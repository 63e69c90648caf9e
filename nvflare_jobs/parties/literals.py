"""What FLARE's export writes around the terms of a job, word for word.

FLARE fills names in braces in from the environment of whoever reads a configuration, and tells all
sites some of the texts, such as the id of a workflow. So no text beside the terms is free: each is
the one that our export has, which a test holds equal.
"""

from collections.abc import Iterator, Mapping
from typing import Any

FORMAT_VERSION = 2
WORKFLOW_ID = "controller"  # which FLARE sends to each site with each task
SERVER_SETTINGS = {"task_request_interval": 0.1}  # FLARE's 2 s would be most of a small round
TRACKING = {  # the server's, if at all: events that the server itself fires, to its own folder
    "id": "receiver",
    "path": "nvflare.app_opt.tracking.tb.tb_receiver.TBAnalyticsReceiver",
    "args": {"events": ["analytix_log_stats"]},
}
TERMS = "job_terms"  # whose braces are JSON's, and which is taken only where it is JSON


def has_our_format(config: Mapping[str, Any]) -> bool:
    """Whether it says the version that our export writes, as a number."""
    found = config.get("format_version")
    return type(found) is int and found == FORMAT_VERSION


def references(value: object) -> Iterator[str]:
    """Every text in ``value`` that FLARE might replace: all with a brace but the terms."""
    if isinstance(value, str) and "{" in value:
        yield value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from references(name)
            if name != TERMS:
                yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)
