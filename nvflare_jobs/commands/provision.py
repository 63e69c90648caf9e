"""``fedefm provision``: from the names of hospitals to their kits, and what becomes of them."""

import typer

from nvflare_jobs.commands import (
    preflight,
    provision_change,
    provision_check,
    provision_fingerprint,
    provision_init,
)

app = typer.Typer(
    help="Make, check and renew the kits of a project's server, hospitals and people.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def group() -> None:
    """Make, check and renew the kits of a project's server, hospitals and people."""


provision_init.register(app)
provision_check.register(app)
provision_change.register(app)
preflight.register(app)
provision_fingerprint.register(app)
