"""Whether the site's own filter sees all that leaves, by the file that FLARE reads it from."""

import json
from pathlib import Path
from typing import Any

from fedefm.errors import PolicyRefused

PRIVACY_FILE = "privacy.json"
GATE = "nvflare_jobs.components.gate_filter.GateFilter"
CHAINS = ("task_data_filters", "task_result_filters")  # messages, and answers
OUTWARD = ("out", "inout")


def refuse_ungated(site: str, local: Path, scope: str = "") -> None:
    """Raises PolicyRefused unless ``scope`` (empty: the default one) has the gate in both chains.

    The process of the job looks again at the filters that FLARE has built there.
    """
    try:
        settings = json.loads((local / PRIVACY_FILE).read_text(encoding="utf-8"))
        name = scope or settings["default_scope"]
        (found,) = [each for each in settings["scopes"] if each["name"] == name]
        gated = all(any(_is_gate(each) for each in found[chain]) for chain in CHAINS)
    except (OSError, ValueError, KeyError, TypeError):
        gated = False
    if not gated:
        raise PolicyRefused(
            f"site {site!r} runs nothing without its gate: the site's local/{PRIVACY_FILE} must "
            "have GateFilter in direction 'out' for task data and for results, in the scope of the "
            "job"
        )


def _is_gate(entry: dict[str, Any]) -> bool:
    return entry["path"] == GATE and entry["direction"] in OUTWARD
