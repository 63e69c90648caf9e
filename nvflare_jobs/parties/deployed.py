"""The terms of a job as FLARE deployed it: what filter and guards go by.

They stand in the job's own configuration, where executor and coordinator get them from, so nobody
has to take anybody's word for what the job is. A configuration is taken in one form only: FLARE
makes a variable of each further name in it, and would put those and the environment's into texts.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fedefm.errors import ConfigError
from fedefm.train.header import SERVER
from nvflare_jobs.parties.literals import (
    FORMAT_VERSION,
    SERVER_SETTINGS,
    TRACKING,
    WORKFLOW_ID,
    has_our_format,
    references,
)
from nvflare_jobs.parties.tasks import TASKS
from nvflare_jobs.parties.terms import SITE_NAME, Terms, read_terms

EXECUTOR = "nvflare_jobs.components.site_executor.SiteExecutor"
COORDINATOR = "nvflare_jobs.components.coordinator.Coordinator"
CONFIG = "config/config_fed_client.json"  # in an app, as FLARE lays it out
SERVER_CONFIG = "config/config_fed_server.json"
LOG_STREAMER = "nvflare.app_common.logging.job_log_streamer.JobLogStreamer"
SIGNATURES = (".__nvfl_sig.json", ".__nvfl_submitter.crt")  # FLARE's, put into each folder
BROUGHT = ("components", "task_data_filters", "task_result_filters")  # would act behind the gate
LONGEST = 2**20  # bytes of a configuration; one for a hundred sites, each linked to all, has 0.2 MB
MOST_SITES, LONGEST_NAME = 1000, 64
CODE = "it brings code, and only what is installed runs there"
KNOWN_CLAIMS = ("epsilon", "delta", "noise_multiplier")  # of meta.json, in any spelling


def deployed_terms(path: Path) -> Terms:
    """The terms in the configuration at ``path``. Raises ConfigError where it has none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise stranger("its configuration cannot be read") from None
    return terms_in(text)


def terms_in(text: str) -> Terms:
    """The terms in the text of a site's configuration.

    Raises ConfigError where it has none, or anything beside them.
    """
    config = _parsed(text)
    if LOG_STREAMER in text:
        raise ConfigError(
            "FLARE has put its log streamer into this job, which sends the site's error log to the "
            'server past the gate; set "allow_log_streaming": false in the site\'s '
            "local/resources.json, and restart the site"
        )
    _bring_nothing(config, {"executors"})
    entry = _only_one(config, "executors")
    if set(entry) != {"tasks", "executor"} or entry["tasks"] != [TASKS]:
        raise stranger(f"its executor is for other tasks than {TASKS}, or has other settings")
    return _terms_of(entry["executor"], EXECUTOR, "at the sites")


def server_terms_in(text: str) -> Terms:
    """The terms in the text of the server's configuration. Raises as ``terms_in``."""
    config = _parsed(text)
    if config.get("components") == [TRACKING]:
        config["components"] = []
    _bring_nothing(config, {"workflows", "server"})
    if config.get("server", SERVER_SETTINGS) != SERVER_SETTINGS:
        raise stranger(f"it sets how the server works otherwise than by {SERVER_SETTINGS}")
    entry = _only_one(config, "workflows")
    if entry.get("id") != WORKFLOW_ID:
        raise stranger(f"the id of its workflow, which FLARE tells all sites, is not {WORKFLOW_ID}")
    component = {name: value for name, value in entry.items() if name != "id"}
    return _terms_of(component, COORDINATOR, "at the server")


def refuse_claims(meta: Mapping[str, Any]) -> None:
    """Raises ConfigError where ``meta.json`` says what a run spends: nobody would go by it."""
    claims = sorted(name for name in meta if str(name).lower() in KNOWN_CLAIMS)
    if claims:
        raise ConfigError(
            f"its meta.json claims {_listed(claims)}, and no site goes by a claim: what a run "
            "spends is computed from its terms (privacy.dp) at each site; leave it out"
        )


def refuse_own_launch(meta: Mapping[str, Any]) -> None:
    """Raises ConfigError where ``meta.json`` says in what a site is to start the job."""
    if meta.get("launcher_spec") or meta.get("resource_spec"):
        raise stranger(
            "its meta.json sets launcher_spec or resource_spec, and in which process, container or "
            "machine a job runs is the site's own matter"
        )


def refuse_files(names: Collection[str], config: str) -> None:
    """Raises ConfigError unless an app's files are ``config`` and its submitter's signatures."""
    if any(name.startswith("custom/") for name in names):
        raise stranger(CODE)
    ours = [name for name in names if not _is_signature(name)]
    others = sorted(set(ours) - {config})
    if others or len(set(ours)) < len(ours):
        raise stranger(f"it brings {_listed(others) or 'files twice'} beside {config}")


def stranger(reason: str) -> ConfigError:
    """The refusal of what `fedefm job export` never makes."""
    return ConfigError(
        f"this is no job of this project: {reason}; make jobs with `fedefm job export`"
    )


def _is_signature(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    return file in SIGNATURES and folder in ("", "config")


def _parsed(text: str) -> dict[str, Any]:
    if len(text) > LONGEST:
        raise stranger(f"its settings are longer than {LONGEST} characters")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        raise stranger("its configuration is not JSON") from None
    if not isinstance(config, dict):
        raise stranger("its configuration holds no settings")
    return config


def _bring_nothing(config: Mapping[str, Any], known: set[str]) -> None:
    brought = [part for part in BROUGHT if config.get(part, []) != []]
    brought += [name for name in config if name not in {"format_version", *known, *BROUGHT}]
    if brought:
        raise stranger(f"it brings {_listed(sorted(brought))} of its own")
    if not has_our_format(config):
        raise stranger(f"its format_version is not {FORMAT_VERSION}")
    if found := next(references(config), None):
        raise stranger(f"{_short(found)} is a text in which FLARE would fill in names")


def _only_one(config: Mapping[str, Any], part: str) -> dict[str, Any]:
    entries = config.get(part)
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise stranger(f"its {part} are no list of settings")
    if len(entries) != 1:
        raise stranger(f"it has {len(entries)} {part}, and a job has one")
    return dict(entries[0])


def _terms_of(component: object, wanted: str, where: str) -> Terms:
    if not isinstance(component, dict) or set(component) != {"path", "args"}:
        raise stranger(f"what it wants to run {where} is not given by path and args alone")
    if component["path"] != wanted:
        raise stranger(f"it wants to run {_short(component['path'])} {where}, and not {wanted}")
    args = component["args"]
    if not isinstance(args, dict) or set(args) != {"job_terms"}:
        raise stranger(f"it hands over other settings than its terms {where}")
    if not isinstance(args["job_terms"], str):
        raise stranger("its terms are no text")
    terms = read_terms(args["job_terms"])
    _check_names(terms)
    return terms


def _check_names(terms: Terms) -> None:
    """A name is never a path: each would mean a file of somebody who runs the job."""
    run, sites = terms.run, terms.sites
    if len(sites) > MOST_SITES or len(set(sites)) < len(sites):
        raise stranger(f"it has more than {MOST_SITES} sites, or one of them twice")
    for site in sites:
        if site == SERVER or len(site) > LONGEST_NAME or not SITE_NAME.fullmatch(site):
            raise stranger(f"{_short(site)} is no name of a site")
    topology = run.federation.topology
    if Path(topology).name != topology or "\\" in topology:
        raise stranger(
            f"federation.topology {_short(topology)} is a path, and a job has the links instead"
        )
    if run.model.start is not None:
        raise stranger(
            f"model.start {_short(run.model.start)} is not possible in a job, since the server "
            "would need the file, too"
        )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}..."


def _listed(names: list[str]) -> str:
    return ", ".join(name if len(name) <= LONGEST_NAME else f"{name[:61]}..." for name in names[:8])
