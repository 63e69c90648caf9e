"""``fedefm data``: bring images in, look at them, check them, divide them between sites.

A command loads what it works with when it is called: the readers and torch load slowly.
"""

import typer

from nvflare_jobs.commands import (
    data_check,
    data_ingest,
    data_layouts,
    data_preview,
    data_simulate,
    data_split,
)

app = typer.Typer(
    help="Bring images in, look at them, check them, divide them between sites.",
    no_args_is_help=True,
)
data_ingest.register(app)
data_layouts.register(app)
data_check.register(app)
data_preview.register(app)
data_split.register(app)
data_simulate.register(app)
