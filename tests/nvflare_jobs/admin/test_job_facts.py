"""What the server has written down of a job, told in sentences."""

import pytest
from scripted_server import meta

from nvflare_jobs.admin.job_facts import OVER, RUNNING, WAITING, facts_of
from nvflare_jobs.admin.outcome import outcome_of

BUDGET = "BudgetExhausted: this run wants epsilon 6.999 (4 steps), which would exceed"


@pytest.mark.parametrize(
    ("status", "stage"),
    [("SUBMITTED", WAITING), ("DISPATCHED", WAITING), ("RUNNING", RUNNING)]
    + [(f"FINISHED:{end}", OVER) for end in ("COMPLETED", "ABORTED", "ABANDONED", "UNHEARD_OF")],
)
def test_a_job_waits_runs_or_is_over(status: str, stage: str) -> None:
    facts = facts_of(meta(status))
    assert facts.stage == stage
    assert status in facts.sentence()


def test_each_refusal_is_told_with_who_refused_and_why() -> None:
    detail = ["server: OK", f"hosp-a: NVFLARE_ERROR: {BUDGET}", "hosp-B: OK"]
    facts = facts_of(meta("FINISHED:FAILED_TO_RUN", job_deploy_detail=detail))
    assert facts.refused == {"hosp-a": BUDGET}
    outcome = outcome_of(facts)
    assert not outcome.done
    assert f"hosp-a refused it: {BUDGET}" in outcome.sentence
    assert "resume" not in outcome.sentence  # there is nothing to go on with


def test_the_same_reason_of_several_sites_is_told_once() -> None:
    detail = [f"{site}: NVFLARE_ERROR: {BUDGET}" for site in ("hosp-a", "hosp-B")]
    (told,) = facts_of(meta("FINISHED:FAILED_TO_RUN", job_deploy_detail=detail)).refusals()
    assert told == f"hosp-a and hosp-B refused it: {BUDGET}"


def test_flares_own_refusal_keeps_its_words_and_gets_a_way_out() -> None:
    detail = ["hosp-a: NVFLARE_ERROR: BYOC not permitted"]
    (told,) = facts_of(meta("FINISHED:FAILED_TO_RUN", job_deploy_detail=detail)).refusals()
    assert "BYOC not permitted" in told
    assert "fedefm job export" in told


def test_a_job_that_waits_for_sites_says_how_many_are_there() -> None:
    history = ["2026-11-21 14:00:01: connected sites (1) < min_sites (2)"]
    sentence = facts_of(meta("SUBMITTED", schedule_history=history)).sentence()
    assert "sites connected to the server: 1, needed: 2" in sentence


@pytest.mark.parametrize("status", ["FINISHED:ABNORMAL", "FINISHED:ABANDONED"])
def test_a_lost_job_says_what_became_of_it_and_the_next_step(status: str) -> None:
    outcome = outcome_of(facts_of(meta(status)))
    assert "was lost" in outcome.sentence
    assert "fedefm job submit RUN.yaml --resume" in outcome.sentence


def test_what_the_job_says_of_its_own_end_counts_before_flares_word() -> None:
    told = {"status": "failed", "error": "QuorumLost", "sentence": "round 2: 1 of 3 sites"}
    outcome = outcome_of(facts_of(meta("FINISHED:EXECUTION_EXCEPTION")), told)
    assert (outcome.done, outcome.error) == (False, "QuorumLost")
    assert "round 2: 1 of 3 sites" in outcome.sentence


def test_completed_for_flare_is_failed_where_the_job_says_so() -> None:
    told = {"status": "failed", "error": "ProtocolError", "sentence": "no model"}
    assert not outcome_of(facts_of(meta("FINISHED:COMPLETED")), told).done


def test_a_class_that_the_server_does_not_build_is_named() -> None:
    log = "x\nnvflare.ComponentNotAuthorized: component not authorized: 'a.b.tb.Receiver' is not in"
    outcome = outcome_of(facts_of(meta("FINISHED:ABNORMAL")), None, log)
    assert "a.b.tb.Receiver" in outcome.sentence
    assert "class_allow_list" in outcome.sentence
