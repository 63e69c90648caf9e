"""A run's figures as FLARE's analytics events, fired at the server alone."""

from typing import Any

from nvflare.apis.analytix import ANALYTIC_EVENT_TYPE, AnalyticsData
from nvflare.apis.dxo import from_shareable
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import EventScope, FLContextKey
from nvflare.apis.fl_context import FLContext, FLContextManager

from nvflare_jobs.components.tracking import Tracked


class Server(FLComponent):
    """Stands in for the coordinator, and keeps what it fires."""

    def __init__(self) -> None:
        super().__init__()
        self.fired: list[tuple[str, Any, FLContext]] = []
        self._contexts = FLContextManager(engine=self, identity_name="server")

    def new_context(self) -> FLContext:
        return self._contexts.new_context()

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        data = AnalyticsData.from_dxo(from_shareable(fl_ctx.get_prop(FLContextKey.EVENT_DATA)))
        self.fired.append((event_type, data, fl_ctx))


def test_each_value_is_one_scalar_by_round_that_stays_at_the_server() -> None:
    server = Server()
    told = {"loss": 1.5, "sent_bytes": 1000, "learning_rate": None}
    Tracked(server, server.new_context())(
        {"time": 1.0, "event": "round", "round": 4, "site": "hosp-a", "status": "ok", **told}
    )
    kinds = {kind for kind, _, _ in server.fired}
    assert kinds == {ANALYTIC_EVENT_TYPE}
    scopes = {ctx.get_prop(FLContextKey.EVENT_SCOPE) for _, _, ctx in server.fired}
    assert EventScope.FEDERATION not in scopes
    values = {data.tag: (data.value, data.step) for _, data, _ in server.fired}
    assert values == {"loss/hosp-a": (1.5, 4), "sent_bytes/hosp-a": (1000.0, 4)}


def test_an_event_without_figures_is_not_tracked() -> None:
    server = Server()
    Tracked(server, server.new_context())({"time": 1.0, "event": "rejected", "round": 1})
    assert server.fired == []
