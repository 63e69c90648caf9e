"""The console script ``fedefm``: puts the commands together and turns errors into sentences."""

import sys

import typer

from fedefm.errors import FedEFMError
from nvflare_jobs.commands import data

app = typer.Typer(
    help="Hospitals train one medical imaging foundation model together, without sharing images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data.app, name="data")


@app.callback()
def options(debug: bool = typer.Option(False, "--debug", help="Show tracebacks.")) -> None:
    """Options that every command shares."""


def main() -> None:
    """Run the command line. An error that is the user's to mend is one sentence and exit code 2."""
    try:
        app()
    except FedEFMError as error:
        if "--debug" in sys.argv:
            raise
        print(f"fedefm: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
