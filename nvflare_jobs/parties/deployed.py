"""The terms of a job as FLARE deployed it at a site: what filter and guard go by.

They stand in the job's own configuration, where the executor gets them from, so neither has to take
anybody's word for what the job is.
"""

import json
from pathlib import Path

from fedefm.errors import ConfigError
from nvflare_jobs.parties.terms import Terms, read_terms

EXECUTOR = "nvflare_jobs.components.site_executor.SiteExecutor"
CONFIG = "config/config_fed_client.json"  # in an app, as FLARE lays it out
LOG_STREAMER = "nvflare.app_common.logging.job_log_streamer.JobLogStreamer"
BROUGHT = ("components", "task_data_filters", "task_result_filters")  # would act behind the gate


def deployed_terms(path: Path) -> Terms:
    """The terms in the configuration at ``path``. Raises ConfigError where it has none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise _stranger("its configuration cannot be read") from None
    return terms_in(text)


def terms_in(text: str) -> Terms:
    """The terms in the text of a site's configuration. Raises ConfigError where it has none."""
    try:
        config = json.loads(text)
        (executor,) = [entry["executor"] for entry in config["executors"]]
        path, terms = executor["path"], executor["args"]["job_terms"]
        brought = sorted(part for part in BROUGHT if config.get(part))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _stranger("its configuration does not name one executor and its terms") from None
    if path != EXECUTOR or not isinstance(terms, str):
        raise _stranger("it wants to run something else at the sites")
    if LOG_STREAMER in text:
        raise ConfigError(
            "FLARE has put its log streamer into this job, which sends the site's error log to the "
            'server past the gate; set "allow_log_streaming": false in the site\'s '
            "local/resources.json, and restart the site"
        )
    if brought:
        raise _stranger(f"it brings {', '.join(brought)} of its own")
    return read_terms(terms)


def _stranger(reason: str) -> ConfigError:
    return ConfigError(
        f"this is no job of this project: {reason}; make jobs with `fedefm job export`"
    )
