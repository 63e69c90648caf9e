"""``fedefm data``: bring images in, look at them, check them, divide them between sites.

A command loads what it works with when it is called: the readers and torch load slowly.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedefm.data.choices import DOMAIN_NAMES
from fedefm.data.manifest import parse_manifest, read_manifest
from fedefm.errors import DataError, all_problems
from fedefm.words import several
from nvflare_jobs.commands import data_ingest
from nvflare_jobs.commands.data_words import counts, print_json, summary
from nvflare_jobs.commands.progress import progress_of

app = typer.Typer(
    help="Bring images in, look at them, check them, divide them between sites.",
    no_args_is_help=True,
)
data_ingest.register(app)

ManifestPath = Annotated[Path, typer.Argument(help="A manifest CSV.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.", min=0)]


@app.command()
def check(
    manifest: ManifestPath,
    hashes: Annotated[bool, typer.Option("--hashes", help="Compare files with sha256.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read every image and mask of a manifest and list all that is wrong (then exit code 2).

    Example: fedefm data check data/angio/manifest.csv --hashes
    """
    from fedefm.data.check import check_manifest

    found, problems = parse_manifest(manifest)
    with progress_of("checking", quiet=as_json) as progress:
        seen = check_manifest(found, hashes, progress)
    problems = list(dict.fromkeys([*problems, *seen]))  # the structure is looked at twice
    if as_json:
        print_json({"manifest": str(manifest), "problems": problems} | summary(found.rows))
        raise typer.Exit(2 if problems else 0)
    if problems:
        raise DataError(all_problems(f"manifest {manifest}", problems, limit=len(problems)))
    print(f"manifest {manifest} is in order: {counts(found.rows)}")


@app.command()
def preview(
    manifest: ManifestPath,
    out: Annotated[Path, typer.Argument(help="The PNG to write.")],
    columns: Annotated[int, typer.Option(help="Images of each corpus.", min=1, max=40)] = 8,
    as_json: AsJson = False,
) -> None:
    """Draw a contact sheet: some images of each corpus, with their masks over them.

    Example: fedefm data preview data/angio/manifest.csv angio.png
    """
    from fedefm.data.preview import contact_sheet, save_sheet

    with progress_of("drawing", quiet=as_json) as progress:
        sheet = contact_sheet(read_manifest(manifest), columns, progress)
    save_sheet(sheet, out)
    if as_json:
        print_json({"preview": str(out), "width": sheet.width, "height": sheet.height})
    else:
        print(f"wrote {out} ({sheet.width} x {sheet.height} pixels)")


@app.command()
def split(
    manifests: Annotated[list[Path], typer.Argument(help="Manifest CSVs to divide.")],
    out: Annotated[Path, typer.Argument(help="The folder to make; new or empty.")],
    sites: Annotated[int, typer.Option(help="How many sites.", min=1)],
    unseen: Annotated[
        float, typer.Option(help="Share of a site's labels that no other site has.", min=0, max=1)
    ] = 1.0,
    seed: Seed = 1,
    dataset: Annotated[
        str, typer.Option(help="The name by which run files call the manifests.")
    ] = "pretraining",
    as_json: AsJson = False,
) -> None:
    """Divide images between sites, one folder each, no patient at two, and say who holds what.

    Example: fedefm data split data/real/manifest.csv --sites 4 --unseen 1 sites
    """
    from fedefm.data.corpora import split_corpora
    from fedefm.data.holdings import holdings, holdings_table, holdings_text
    from fedefm.data.site_folders import write_sites

    sources = [read_manifest(path) for path in manifests]
    division = split_corpora(sources, sites, unseen, seed)
    write_sites(division, sources, out, [dataset])
    console = Console()
    if as_json:
        print_json({"folder": str(out)} | holdings(division))
        return
    if console.is_terminal:
        console.print(holdings_table(division))
    else:
        print("\n".join(holdings_text(division)))
    if division.left_out:
        print(f"left out: {several(division.left_out, 'image')} whose patient is at another site")
    print(f"wrote {out}")


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="The folder to make; new or empty.")],
    domains: Annotated[
        str, typer.Option(help=f"Comma-separated, of {', '.join(DOMAIN_NAMES)}.")
    ] = ",".join(DOMAIN_NAMES),
    patients: Annotated[int, typer.Option(help="Patients of each domain.", min=1)] = 10,
    frames: Annotated[int, typer.Option(help="Frames of each patient.", min=1)] = 4,
    size: Annotated[int, typer.Option(help="Side of a frame in pixels.", min=32, max=1024)] = 256,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """Simulate X-ray fluoroscopy with catheters and guidewires, and masks of both.

    Example: fedefm data simulate data/sim --domains phantom,cardiac --patients 20
    """
    from fedefm.data.simulated import write_dataset

    names = [name.strip() for name in domains.split(",") if name.strip()]
    with progress_of("simulating", quiet=as_json) as progress:
        made = write_dataset(folder, names, patients, frames, size, seed, progress)
    if as_json:
        print_json({"manifest": str(folder / "manifest.csv")} | summary(made.rows))
    else:
        print(f"wrote {folder / 'manifest.csv'}: {counts(made.rows)}")
