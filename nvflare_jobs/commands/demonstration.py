"""What ``fedefm demo`` does: hospitals are simulated, pre-train, and a segmenter is made from it.

Four hospitals pre-train under patient-level differential privacy, each with a ledger of its own.
The frames with masks for fine-tuning stand for a public set, as there are some: no patient of the
hospitals is among them, so that fine-tuning needs no privacy.
"""

import shutil
from pathlib import Path

import yaml

from fedefm.config import FinetuneConfig, RunConfig, parse
from fedefm.data.corpora import split_corpora
from fedefm.data.holdings import holdings_text
from fedefm.data.simulated import write_dataset
from fedefm.data.site_folders import SITE_FILE, write_sites
from fedefm.events import EventLog
from fedefm.finetune.job import FinetuneJob, FinetuneReport, run_finetuning
from fedefm.finetune.mask_scores import SegmentationScores
from fedefm.finetune.segment import Segmentation
from fedefm.finetune.start import Start
from fedefm.report.run_report import write_report
from fedefm.train.run_files import EVENTS, MODEL
from nvflare_jobs.commands.finetune_progress import finetune_progress
from nvflare_jobs.commands.privacy_page import write_page
from nvflare_jobs.commands.progress import progress_of
from nvflare_jobs.commands.run_options import Where
from nvflare_jobs.commands.watched_run import perform

DOMAINS = (
    "phantom", "animal", "cardiac", "neuro_dsa",
    "low_dose", "image_intensifier", "high_scatter", "roadmap",
)  # fmt: skip
SITES = ("north-hospital", "east-clinic", "south-hospital", "west-clinic")
PATIENTS, PIXELS = 300, 64  # of each domain at the hospitals, one frame of each patient
MASKED_PATIENTS, MASKED_FRAMES, SIZE = 30, 4, 128  # of each domain in the public set with masks
POLICY = {"require_dp": True, "epsilon_cap": 10.0, "delta": 2e-4}  # of each hospital
CLASSES = ("background", "catheter", "guidewire")
RUN = {
    "name": "demo",
    "model": {"backbone": "resnet_micro", "image_size": 32},
    "training": {
        "learning_rate": 0.1,
        "augment": "none",
    },  # other framing hides what tells the kinds apart
    "federation": {"rounds": 40, "local_steps": 5, "host_steps": 5},
    "privacy": {"dp": {"epsilon": 8.0, "delta": 2e-4, "patients_per_step": 64}},
}
FINETUNE = {"steps": 800, "batch_size": 4, "learning_rate": 0.1}


def demonstrate(out: Path, seed: int, quiet: bool) -> tuple[Path, Path]:
    """The run's report, and the first hospital's privacy account, both in ``out``."""
    sites, folder, masked = out / "sites", out / "run", out / "masked"
    _say("simulating X-ray fluoroscopy: eight kinds, two at each of four hospitals", quiet)
    _simulate_hospitals(out / "data", sites, seed, quiet)

    _say("pre-training with differential privacy: weights travel, images stay", quiet)
    settings = parse({**RUN, "seed": seed}, RunConfig, "demo")
    perform(settings, sites, folder, Where.process, False, quiet)

    _say("simulating a public set with masks, and fine-tuning a segmenter on it", quiet)
    with progress_of("simulating", quiet) as progress:
        write_dataset(masked, DOMAINS, MASKED_PATIENTS, MASKED_FRAMES, SIZE, seed + 1, progress)
    report = _finetune(masked / "manifest.csv", folder / MODEL, out / "segmenter", seed, quiet)
    _show_in_report(folder, out / "segmenter", report)
    page = write_report(folder)
    return page, write_page(sites / SITES[0] / SITE_FILE, out / "privacy")


def _simulate_hospitals(images: Path, sites: Path, seed: int, quiet: bool) -> None:
    """Frames of every domain, divided between hospitals that each demand privacy."""
    with progress_of("simulating", quiet) as progress:
        manifest = write_dataset(images, DOMAINS, PATIENTS, 1, PIXELS, seed, progress)
    division = split_corpora([manifest], SITES, 1.0, seed)
    write_sites(division, [manifest], sites)
    for site in SITES:
        path = sites / site / SITE_FILE
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        path.write_text(yaml.safe_dump({**settings, "policy": POLICY}), encoding="utf-8")
    for line in holdings_text(division):
        _say(line, quiet)


def _say(line: str, quiet: bool) -> None:
    if not quiet:
        print(line, flush=True)


def _finetune(
    manifest: Path, foundation: Path, target: Path, seed: int, quiet: bool
) -> FinetuneReport:
    config = parse(FINETUNE, FinetuneConfig, "demo")
    start, task = Start(foundation, image_size=SIZE), Segmentation(CLASSES)
    job = FinetuneJob(manifest, target, start, config, task, seed)
    with finetune_progress(quiet) as (decoding, listener):
        return run_finetuning(job, (listener,), decoding)


def _show_in_report(folder: Path, segmenter: Path, report: FinetuneReport) -> None:
    """Let the run's report show what the foundation model became."""
    shutil.copytree(segmenter / "examples", folder / "segmentation")
    scores = report.scores
    if not isinstance(scores, SegmentationScores):
        return
    log = EventLog(folder / EVENTS)
    log.emit(
        "segmentation_evaluated",
        name="fine-tuned on a public set with masks (simulated here)",
        images=scores.images,
        **{
            kind: {name: interval.value for name, interval in values.items()}
            for kind, values in (
                ("dice", scores.dice),
                ("cldice", scores.cldice),
                ("iou", scores.jaccard),
            )
        },
    )
    log.close()
