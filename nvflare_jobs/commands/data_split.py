"""``fedefm data split`` and ``holdout``: who holds which images, and what they are for.

``split`` divides images between sites, to simulate hospitals. ``holdout`` sets aside validation and
test patients of one manifest, which all stay where they are.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedefm.data.manifest import read_manifest
from fedefm.errors import ConfigError
from fedefm.words import several
from nvflare_jobs.commands.data_words import print_json

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.", min=0)]


def register(app: typer.Typer) -> None:
    """Add the two commands to ``app``."""
    for command in (split, holdout):
        app.command()(command)


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

    Rows without a split get one, as if by `holdout` with 65/15/20; to set patients aside in one
    manifest, use `fedefm data holdout`.

    Example: fedefm data split data/real/manifest.csv --sites 4 --unseen 1 sites
    """
    from fedefm.data.corpora import split_corpora
    from fedefm.data.holdings import holdings, holdings_table, holdings_text
    from fedefm.data.site_folders import write_sites

    if len({path.resolve() for path in manifests}) < len(manifests):
        raise ConfigError(
            "a manifest is named twice, and its images would count double; name it once"
        )
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


def holdout(
    manifest: Annotated[Path, typer.Argument(help="The manifest CSV whose patients to divide.")],
    out: Annotated[
        Path,
        typer.Argument(help="The CSV to write, in the same folder; the same file is replaced."),
    ],
    fractions: Annotated[
        str, typer.Option(help="Training, validation and test share of the patients.")
    ] = "70/15/15",
    seed: Seed = 1,
    anew: Annotated[
        bool, typer.Option("--anew", help="Forget the splits that rows have already.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Set validation and test patients of a manifest aside: nobody in two splits, classes balanced.

    Every class keeps its shares, as far as its patients allow, and is in every split if it has a
    patient for each. Several labels of an image are joined by "|". Splits that rows have stay,
    unless --anew is given. Files stay where they are; only the column split is filled. To divide
    images between sites, use `fedefm data split`.

    Example: fedefm data holdout data/angio/manifest.csv data/angio/holdout.csv --fractions 70/15/15
    """
    from fedefm.data.class_counts import count_classes
    from fedefm.data.holdout import parse_fractions, write_holdout

    made = write_holdout(manifest, out, parse_fractions(fractions), seed, anew)
    classes = {name: count.images for name, count in count_classes(made.rows).items()}
    patients = {
        split: len({row.patient_id for row in made.rows if row.split == split})
        for split in ("train", "validation", "test")
    }
    if as_json:
        print_json({"manifest": str(out), "patients": patients, "classes": classes})
        return
    for name, images in classes.items():
        shown = " / ".join(str(images.get(split, 0)) for split in patients)
        print(f"{name}: {shown} images (train / validation / test)")
    print(f"patients: {' / '.join(map(str, patients.values()))}")
    print(f"wrote {out}")
