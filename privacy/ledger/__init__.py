"""The epsilon ledger that a site owns: append-only, chained, signed, over all jobs and years."""

from privacy.ledger.account import Account
from privacy.ledger.budget import Totals
from privacy.ledger.entry import Entry
from privacy.ledger.export import to_csv, to_json
from privacy.ledger.heads import Head
from privacy.ledger.labels import Budget, Dataset, RunLabel
from privacy.ledger.ledger import Ledger
from privacy.ledger.runs import RunRecord
from privacy.ledger.verification import verify

__all__ = [
    "Account",
    "Budget",
    "Dataset",
    "Entry",
    "Head",
    "Ledger",
    "RunLabel",
    "RunRecord",
    "Totals",
    "to_csv",
    "to_json",
    "verify",
]
