"""``fedefm provision``: from the names of a project's hospitals to kits, and what becomes of them."""

import typer

app = typer.Typer(
    help="Make, check and renew the kits of a project's server, hospitals and people.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def group() -> None:
    """Make, check and renew the kits of a project's server, hospitals and people."""
