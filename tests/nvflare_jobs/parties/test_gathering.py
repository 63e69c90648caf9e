"""How long the coordinator waits for whom."""

import threading
import time

import pytest

from fedefm.config import RunConfig
from fedefm.errors import ProtocolError
from fedefm.train.rounds.stagewise import LAST_STEP, LAST_STEP_IF_SECURE
from nvflare_jobs.parties.deadlines import deadlines_of
from nvflare_jobs.parties.gathering import Gathering
from nvflare_jobs.parties.terms import terms_for

SITES = frozenset("abc")
SECURE = {"secagg": {}}


def gathering(*at_once: str, **later_s: float) -> Gathering:
    made = Gathering()
    for site in at_once:
        made.add(site, {})
    for site, seconds in later_s.items():
        threading.Timer(seconds, made.add, (site, {})).start()
    return made


def took(wait, **settings) -> tuple[set[str], float]:
    started = time.monotonic()
    return set(wait(SITES, **settings)), time.monotonic() - started


def test_ends_with_the_last_answer() -> None:
    answered, seconds = took(gathering("a", "b", c=0.2).wait, limit_s=5)
    assert answered == SITES
    assert seconds < 2


def test_ends_at_the_limit_whatever_the_patience() -> None:
    settings = {"limit_s": 0.3, "enough": 1, "patience_s": lambda answers: 9.0}
    answered, seconds = took(gathering("a").wait, **settings)
    assert answered == {"a"}
    assert 0.25 < seconds < 2


def test_gives_the_others_so_long_as_the_answers_say() -> None:
    def patience_s(answers) -> float:
        return 0.3 if "b" in answers else 9.0

    settings = {"limit_s": 9.0, "enough": 1, "patience_s": patience_s}
    answered, seconds = took(gathering("a", b=0.5).wait, **settings)
    assert answered == {"a", "b"}
    assert 0.45 < seconds < 2


def test_waits_for_nobody_whom_flare_knows_to_be_gone() -> None:
    answered, seconds = took(gathering("a", "b").wait, limit_s=5, is_gone={"c"}.__contains__)
    assert answered == {"a", "b"}
    assert seconds < 1


def test_an_aborted_job_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="aborted"):
        gathering().wait(SITES, limit_s=5, stopped=lambda: True)


def _deadlines(run: RunConfig):
    return deadlines_of(run, terms_for(run, [f"hosp-{n}" for n in "abcd"]).plan())


@pytest.mark.parametrize(
    ("federation", "plain", "secure"),
    [
        ({"scenario": "client_server", "algorithm": "fedavg"}, (2, 2, 1), (10, 19, 2)),
        ({"schedule": "grid", "expert_every": 2}, (3, 2, 1), (11, 19, 2)),
        ({"algorithm": "gossip", "schedule": "neighbors", "topology": "complete"}, (2, 2, 1), None),
        (
            {
                "update": "mixed",
                "schedule": "neighbors",
                "topology": "complete",
                "expert": "aggregated",
            },
            (2, 2, 1),
            (10, 19, 10),
        ),
    ],
    ids=["fedavg", "grid", "gossip", "aggregated"],
)
def test_a_round_has_time_for_all_its_exchanges(make_run, federation, plain, secure) -> None:
    run = make_run(**federation)
    found = _deadlines(run)
    assert (found.round, found.publish, found.lateness) == plain
    if secure is not None:
        hidden = {**run.model_dump(), "privacy": {"secagg": {}}}
        found = _deadlines(RunConfig.model_validate(hidden))
        assert (found.round, found.publish, found.lateness) == secure
        assert found.metrics == 9


@pytest.mark.parametrize(("privacy", "last"), [({}, LAST_STEP), (SECURE, LAST_STEP_IF_SECURE)])
def test_sites_of_other_stages_wait_for_the_encoder_as_long_as_a_round_may_last(
    make_run, privacy, last
) -> None:
    sites = [f"hosp-{n}" for n in "abcdef"]
    task = {"kind": "classification", "classes": ["one", "other"]}
    told = {
        **make_run().model_dump(),
        "model": {"backbone": "resnet_micro", "image_size": 16},
        "federation": {"scenario": "client_server", "algorithm": "stagewise", "rounds": 2},
        "privacy": privacy,
        "stagewise": {
            "stages": [{"sites": half, "rounds": 1} for half in (sites[:3], sites[3:])],
            "tasks": dict.fromkeys(sites, task),
        },
    }
    run = RunConfig.model_validate(told)
    assert deadlines_of(run, terms_for(run, sites).plan()).round == last + 1
