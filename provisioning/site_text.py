"""The site file that a new kit brings: strict, and of no use until its hospital has edited it."""

EDIT = "EDIT"  # what marks the lines that a hospital has to fill in
SITE_TEXT = """\
# What {site} gives to jobs, and what it allows. This file is the hospital's: FLARE, the hub and
# data scientists never see or change it, and where it and a run file speak of one thing, the
# stricter one wins. Lines with {edit} are yours to fill in. Then look at it with
#
#   fedefm provision check ..        and        fedefm provision preflight ..

# {edit}: what the name of a dataset in run files means here. While this is empty, {site} refuses
# every job. A manifest is made with `fedefm data ingest`; paths are relative to this file.
datasets: {{}}
# datasets:
#   pretraining:
#     manifest: /data/angiograms/manifest.csv
#     unit: patient        # whom differential privacy protects; runs must ask for the same
#     patients: 1200       # leaves in private jobs: as you publish it, rounded up; else counted
#     scan_mode: convex    # of ultrasound from one kind of probe (or linear); of mixed images: none

# {edit}: the account of all privacy that was ever spent here. On a local disk, with a backup,
# outside of this kit, in a folder that FLARE's account alone may read.
ledger: /var/lib/fedefm/ledger.sqlite
# {edit}: remembers the newest entry, so that an older copy of the ledger is noticed. Best on
# another disk.
ledger_witness: /var/lib/fedefm-witness/ledger.head

policy:
  require_dp: true          # nothing is trained without differential privacy
  epsilon_cap: 8.0          # of each dataset's patients, over all jobs, for ever
  delta: 1.0e-6             # below one over the number of patients
  min_cohort: 2             # so many others must be in a secure sum, so that none shows this site
  colluders: 1              # so many of them may pool what they see, and still learn nothing
  require_encryption: true  # messages that the hub cannot read
  noise_shares: false       # whether protection may rest on noise that other sites add
  # Which numbers about the training may leave in the clear. Any of: loss, accuracy, images,
  # seconds, similarity, budget (how much epsilon is left).
  allowed_metrics: [seconds]

# The certificates of the others, as they told them by telephone: who owns the project's root can
# issue one in any name. Each prints its own with `fedefm provision fingerprint KIT`. Where this
# stands, jobs with anybody else are refused.
# peers:
#   server: sha256:...
#   OTHER-SITE: sha256:...

device: cpu
"""


def site_text(site: str) -> str:
    """``fedefm_site.yaml`` for the kit of ``site``."""
    return SITE_TEXT.format(site=site, edit=EDIT)
