"""A task goes to all sites, and what FLARE brings back becomes their answers."""

from types import SimpleNamespace

import pytest
from nvflare.apis.controller_spec import ClientTask
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable, make_reply

from fedefm.errors import ProtocolError
from nvflare_jobs.components.asking import TasksByFlare
from nvflare_jobs.parties import messages
from nvflare_jobs.parties.standing import Standing
from nvflare_jobs.parties.tasks import ROUND

SITES = ("hosp-a", "hosp-b", "hosp-c")


class Flare:
    """As much of FLARE's controller as is needed; ``results`` of sites are there at once."""

    def __init__(self, results: dict[str, Shareable | None]) -> None:
        self.results = results
        self.put, self.canceled, self.gone = [], [], set()

    def broadcast(self, task, fl_ctx, targets, min_responses) -> None:
        self.put.append((task, targets, min_responses))
        for site, result in self.results.items():
            answered = ClientTask(SimpleNamespace(name=site), task)
            answered.result = result
            task.result_received_cb(answered, fl_ctx)
            assert answered.result is None

    def get_client_disconnect_time(self, site: str) -> float | None:
        return 1.0 if site in self.gone else None

    def cancel_task(self, task, fl_ctx) -> None:
        self.canceled.append(task)


def asking(flare: Flare, stopped: bool = False) -> tuple[TasksByFlare, Standing]:
    standing = Standing()
    return TasksByFlare(flare, None, SITES, standing, lambda: stopped), standing


def test_answers_come_by_site_and_the_task_is_over() -> None:
    flare = Flare({site: messages.pack_numbers({"loss": 1.5}) for site in SITES})
    ask, standing = asking(flare)
    looked = []
    answers = ask(
        ROUND,
        {"round": 4},
        frozenset(SITES),
        limit_s=7.5,
        meanwhile=lambda: looked.append(standing.told()),
    )
    assert answers == {site: {"loss": 1.5} for site in SITES}
    ((task, targets, least),) = flare.put
    assert (task.name, task.timeout, targets, least) == (ROUND, 8, list(SITES), 0)
    assert messages.unpack_numbers(task.data) == {"round": 4}
    assert flare.canceled == [task]
    assert (looked[0]["round"], set(looked[0]["answered"])) == (4, set(SITES))
    assert standing.told()["task"] == ""


@pytest.mark.parametrize(
    ("result", "refusal"),
    [
        (None, "FLARE reports EMPTY_RESULT"),
        (make_reply(ReturnCode.EXECUTION_EXCEPTION), "FLARE reports EXECUTION_EXCEPTION"),
        (Shareable(), "not of this protocol"),
    ],
)
def test_what_cannot_be_read_is_a_refusal(result, refusal) -> None:
    ask, _ = asking(Flare({"hosp-a": result}))
    told = ask(ROUND, {"round": 0}, frozenset({"hosp-a"}), limit_s=5)
    assert refusal in told["hosp-a"]["refused"]


def test_nobody_waits_for_a_site_that_is_gone() -> None:
    flare = Flare({"hosp-a": messages.pack_numbers({})})
    flare.gone = {"hosp-b", "hosp-c"}
    ask, _ = asking(flare)
    assert set(ask(ROUND, {"round": 0}, frozenset(SITES), limit_s=60)) == {"hosp-a"}


def test_a_stopped_job_leaves_no_task_open() -> None:
    flare = Flare({})
    ask, standing = asking(flare, stopped=True)
    with pytest.raises(ProtocolError, match="aborted"):
        ask(ROUND, {"round": 0}, frozenset(SITES), limit_s=60)
    assert len(flare.canceled) == 1
    assert standing.told()["awaited"] == []
