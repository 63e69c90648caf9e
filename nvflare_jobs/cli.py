"""The console script ``fedefm``: puts the commands together and turns errors into sentences."""

import sys
from io import TextIOWrapper
from pathlib import Path

import typer

from fedefm.errors import FedEFMError
from nvflare_jobs.commands import (
    data,
    demo,
    evaluate,
    export,
    finetune,
    job,
    predict,
    privacy,
    provision,
    report,
    run,
)

app = typer.Typer(
    help="Hospitals train one medical imaging foundation model together, without sharing images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
demo.register(app)
app.add_typer(data.app, name="data")
run.register(app)
job.register(app)
finetune.register(app)
evaluate.register(app)
predict.register(app)
export.register(app)
report.register(app)
app.add_typer(privacy.app, name="privacy")
app.add_typer(provision.app, name="provision")


@app.callback()
def options(
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks; before the command."),
) -> None:
    """Options that every command shares."""


def main() -> None:
    """Run the command line. An error that is the user's to mend is one sentence and exit code 2."""
    for stream in (sys.stdout, sys.stderr):  # a letter that a terminal lacks is not worth a failure
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except FedEFMError as error:
        if "--debug" in sys.argv:
            raise
        print(f"fedefm: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # a full disk, a folder that may not be written
        if "--debug" in sys.argv:
            raise
        where = f" {Path(str(error.filename))}" if error.filename else ""
        print(f"fedefm: cannot read or write{where}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
