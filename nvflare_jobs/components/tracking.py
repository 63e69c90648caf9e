"""A run's figures for FLARE's experiment tracking, told by the server alone.

What is tracked is read off the events of the run, which hold only what the sites' policies let out.
Sites fire no analytics events: FLARE would carry these past their filters.
"""

from nvflare.apis.analytix import AnalyticsDataType, TrackConst
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext
from nvflare.apis.utils.analytix_utils import create_analytic_dxo, send_analytic_dxo

from fedefm.events import Event
from fedefm.report.metrics_csv import rows_of


class Tracked:
    """A listener that fires one analytics event for each value, at the server and nowhere else.

    Whatever receiver the job or the server's owner has put there takes them: FLARE's for
    TensorBoard, MLflow or Weights & Biases. Tags are as in the run folder's own TensorBoard files:
    ``KIND/SITE`` by round.
    """

    def __init__(self, server: FLComponent, fl_ctx: FLContext) -> None:
        self._server, self._engine = server, fl_ctx.get_engine()

    def __call__(self, event: Event) -> None:
        """Tell what ``event`` measured."""
        for number, site, kind, value in rows_of(event):
            dxo = create_analytic_dxo(
                tag=f"{kind}/{site}",
                value=float(value),
                data_type=AnalyticsDataType.SCALAR,
                **{TrackConst.GLOBAL_STEP_KEY: number},
            )
            with self._engine.new_context() as fl_ctx:
                send_analytic_dxo(self._server, dxo, fl_ctx)
