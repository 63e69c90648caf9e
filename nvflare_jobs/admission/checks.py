"""A site's reasons to refuse a job, all asked before the job is on its disk.

The same is asked again where the job starts, and by the gate for each message: between a site's
word and its deeds its files may change.
"""

from pathlib import Path

import fedefm.model  # noqa: F401 - before anything imports torchvision
from fedefm.config import RunConfig, SiteConfig, read_site
from fedefm.data.kinds import kinds_of
from fedefm.data.loading import training_rows
from fedefm.data.manifest import Manifest
from fedefm.errors import ConfigError, PolicyRefused
from fedefm.train.assemble import check_share, find_manifest
from fedefm.train.effort import efforts
from nvflare_jobs.admission.question import Question
from nvflare_jobs.afford import refuse_unaffordable
from nvflare_jobs.parties import places
from nvflare_jobs.parties.deployed import terms_in
from nvflare_jobs.parties.identities import credentials_of
from nvflare_jobs.parties.saved_run import SavedRun
from nvflare_jobs.parties.terms import Terms
from nvflare_jobs.secure import refuse_unhidden
from nvflare_jobs.site_checks.gate import refuse_ungated
from nvflare_jobs.site_checks.ledger import check_ledger


def refuse_unwelcome(question: Question) -> None:
    """Raises what a policy, a ledger, a dataset, a plan or a kit has against the job."""
    terms, site = terms_in(question.config), question.site
    if site not in terms.sites:
        raise ConfigError(f"site {site!r} is not among the sites of this job's terms")
    if not question.encrypted:
        raise PolicyRefused(
            f"site {site!r} runs nothing without encryption from end to end, and FLARE runs "
            "without certificates here; start the site with its provisioned kit"
        )
    kit, local = Path(question.kit), Path(question.local)
    credentials_of(site, terms.sites, kit, needed=True)
    refuse_ungated(site, local, question.scope)
    site_file = places.site_file(site, local)
    settings = read_site(site_file)
    manifest = _manifest(site_file, settings, terms.run)
    _refuse_spending(question, site_file, settings, terms, manifest)
    _refuse_images(site, settings, terms.run, manifest)
    if terms.run.privacy.secagg is not None:
        refuse_unhidden({site: site_file}, terms.run, terms.plan())


def _manifest(site_file: Path, settings: SiteConfig, run: RunConfig) -> Manifest | None:
    """Of the run's dataset, with something to train on; None where nobody needs to look into it.

    That is in a private run at a site that has published how many patients and which labels it has.
    Otherwise a manifest takes seconds for each 100,000 rows. No image is opened.
    """
    entry = settings.datasets.get(run.dataset)
    if run.privacy.dp is not None and entry and entry.patients and entry.labels is not None:
        return None
    manifest = find_manifest(site_file, run.dataset)
    training_rows(manifest)
    return manifest


def _refuse_spending(
    question: Question,
    site_file: Path,
    settings: SiteConfig,
    terms: Terms,
    manifest: Manifest | None,
) -> None:
    """By policy and ledger; a run without differential privacy spends nothing."""
    site, run = question.site, terms.run
    saved = SavedRun(site, places.state_folder(site, run.name, Path(question.kit)), terms)
    begin = max(saved.rounds(), default=0) if terms.resume else 0
    plan = terms.plan()
    ahead = efforts(run, plan.schedule, site, begin, plan.asked)
    refuse_unaffordable(site, site_file, run, ahead, saved.run_id, manifest)
    if run.privacy.dp is not None and settings.ledger is not None:
        if (site_file.parent / settings.ledger).is_file():
            return  # opened and verified just now
        found = check_ledger(site, site_file, settings)[0]
        if found.verdict == "problem":
            raise PolicyRefused(f"site {site!r}: {found.line}")


def _refuse_images(
    site: str, settings: SiteConfig, run: RunConfig, manifest: Manifest | None
) -> None:
    """By how many images there are, and of what."""
    if manifest is not None:
        check_share(run, site, manifest)
        _refuse_labels(site, {*kinds_of(manifest.rows, run.labels)}, run)
    else:
        _refuse_labels(site, set(settings.datasets[run.dataset].labels or ()), run)


def _refuse_labels(site: str, labels: set[str], run: RunConfig) -> None:
    unknown = [] if run.masking else sorted(labels - set(run.labels))
    if unknown:
        raise ConfigError(
            f"site {site!r} has images of {', '.join(unknown[:8])} in dataset {run.dataset!r}, and "
            "model.classes does not name them; add them, or ask the site for a dataset without them"
        )
