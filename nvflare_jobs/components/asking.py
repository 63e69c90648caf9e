"""How the coordinator's tasks travel: FLARE puts them to all sites, and brings their answers."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable

from fedefm.errors import ProtocolError
from nvflare_jobs.parties import messages
from nvflare_jobs.parties.gathering import Gathering, Patience, no_patience
from nvflare_jobs.parties.standing import Standing


class TasksByFlare:
    """Tasks to ``sites``, and their answers; see ``nvflare_jobs.parties.gathering.Asking``.

    ``standing`` hears of each, for whoever looks at the job from outside.
    """

    def __init__(
        self,
        controller: Controller,
        fl_ctx: FLContext,
        sites: Sequence[str],
        standing: Standing,
        stopped: Callable[[], bool],
    ) -> None:
        self._controller, self._fl_ctx, self._sites = controller, fl_ctx, sites
        self._standing, self._stopped = standing, stopped

    def __call__(
        self,
        task: str,
        numbers: Mapping[str, Any],
        awaited: frozenset[str],
        limit_s: float,
        enough: int | None = None,
        patience_s: Patience = no_patience,
        meanwhile: Callable[[], None] | None = None,
    ) -> dict[str, dict[str, Any]]:
        gathering, gone = Gathering(), self._controller.get_client_disconnect_time
        self._standing.open(task, numbers, awaited)
        put = self._task(task, numbers, limit_s, gathering)
        self._controller.broadcast(put, self._fl_ctx, targets=list(self._sites), min_responses=0)
        try:
            if meanwhile is not None:
                meanwhile()
            return gathering.wait(
                awaited, limit_s, enough, patience_s, lambda site: bool(gone(site)), self._stopped
            )
        finally:
            self._standing.close()
            self._controller.cancel_task(put, fl_ctx=self._fl_ctx)

    def _task(
        self, task: str, numbers: Mapping[str, Any], limit_s: float, gathering: Gathering
    ) -> Task:
        """It puts each answer into ``gathering``, in FLARE's own threads."""

        def note(client_task: ClientTask, fl_ctx: FLContext) -> None:
            answer = _read(client_task.result)
            client_task.result = None  # nobody else needs it
            self._standing.answered(client_task.client.name, answer)
            gathering.add(client_task.client.name, answer)

        data, timeout = messages.pack_numbers(numbers), math.ceil(limit_s)
        return Task(task, data, timeout=timeout, result_received_cb=note)


def _read(result: Shareable | None) -> dict[str, Any]:
    try:
        code = result.get_return_code() if result is not None else ReturnCode.EMPTY_RESULT
        if result is None or code != ReturnCode.OK:
            return {"refused": f"FLARE reports {code}; see the site's log"}
        return messages.unpack_numbers(result)
    except ProtocolError as error:
        return {"refused": str(error)}
