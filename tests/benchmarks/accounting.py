"""Epsilon by our accountant, by PLD, PRV and RDP of others; and the pace of the ledger.

    python tests/benchmarks/accounting.py [--quick] [--json PATH]

Noise multiplier 1, sampling rate 0.01, delta 1e-5, add/remove. ``pld`` is dp-accounting's own
accountant, pessimistic, at an interval of 1e-4; ``ours`` is what a site counts by while it runs, at
1e-3. The benchmark fails where ours is below PLD, or more than 0.1 % above.

The ledger holds 10,000 entries (``--quick``: 1,000) of 20 runs with a noise multiplier each, on one
dataset. A reservation and its settlement are timed on the last run; ``verify`` checks all, and
``report`` is the officer's page with its figure, from opening the ledger to the written file.
"""

import argparse
import contextlib
import importlib.metadata
import io
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dp_accounting.pld import PLDAccountant

from nvflare_jobs.commands.privacy_page import report
from privacy.accountant import ACCOUNTANT, CERTIFICATE_INTERVAL, epsilon, epsilon_prv, epsilon_rdp
from privacy.calibrate import noise_for
from privacy.ledger import Account, Budget, Dataset, Ledger, RunLabel, verify
from privacy.mechanism import Mechanism, together

DELTA = 1e-5
UNITS, CAP = 3200, 61  # 32 expected; the cap of a run file that names none
PLAIN = Mechanism(1.0, 0.01, UNITS, UNITS)
CAPPED = Mechanism(1.0, 0.01, UNITS, CAP)
STEPS = (1000, 3000, 10_000)
RUNS = 20
TIMED = 100  # reservations


def compare(steps: int) -> dict[str, float]:
    """One row: four accountants on the same steps."""
    spend = {PLAIN: steps}
    row = {
        "ours": epsilon(spend, DELTA),
        "pld": pld(steps),
        "prv": epsilon_prv(spend, DELTA),
        "rdp": epsilon_rdp(spend, DELTA),
    }
    check(row)
    return row


def pld(steps: int) -> float:
    """By dp-accounting alone."""
    accountant = PLDAccountant(value_discretization_interval=CERTIFICATE_INTERVAL)
    return float(accountant.compose(PLAIN.event(), steps).get_epsilon(DELTA))


def check(row: dict[str, float]) -> None:
    """What the accountant promises."""
    if not row["pld"] <= row["ours"] <= 1.001 * row["pld"]:
        raise SystemExit(f"ours {row['ours']} is not within 0.1 % above PLD's {row['pld']}")


def three_jobs() -> dict[str, float]:
    """Three jobs of 1,000 steps: composed, and as the sum that forgets it."""
    jobs = [{PLAIN: 1000}] * 3
    return {
        "ours": epsilon(together(*jobs), DELTA),
        "sum": sum(epsilon(job, DELTA) for job in jobs),
        "pld": pld(3000),
    }


def seconds(action: Callable[[], Any]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def cpu_seconds(action: Callable[[], Any]) -> tuple[float, float]:
    """By the wall, and by the processor: on a busy machine they differ."""
    started = time.process_time()
    wall = seconds(action)
    return wall, time.process_time() - started


def pace() -> dict[str, float]:
    """Seconds of questions that a run asks, none of them asked before."""
    spend = {Mechanism(1.01, 0.01, UNITS, CAP): 3000}
    question = ("add_or_remove_one", 0.01, UNITS, CAP, 3000)
    return {
        "epsilon_s": seconds(lambda: epsilon(spend, DELTA)),
        "epsilon_again_s": seconds(lambda: epsilon(spend, DELTA)),
        "noise_for_3_s": seconds(lambda: noise_for(3.0, DELTA, *question)),
        "noise_for_8_s": seconds(lambda: noise_for(8.0, DELTA, *question)),
    }


def ledger_pace(entries: int) -> dict[str, float]:
    """A ledger of so many entries: one more reservation, all verified, and the officer's page."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        started = time.perf_counter()
        with Ledger.open(path, "north") as ledger:
            account = fill(ledger, entries)
            filled = time.perf_counter() - started
            taken = [seconds(lambda: one_fit(account)) for _ in range(TIMED)]
        site_file = Path(folder) / "fedefm_site.yaml"
        site_file.write_text(SITE)
        doubts: list[str] = []
        verified, verified_cpu = cpu_seconds(lambda: doubts.extend(verify(path, "north")))
        if doubts:
            raise SystemExit(f"the ledger does not verify: {doubts}")
        with contextlib.redirect_stdout(io.StringIO()):
            reported, reported_cpu = cpu_seconds(
                lambda: report(site_file, Path(folder) / "privacy.html")
            )
    return {
        "entries": entries,
        "runs": RUNS,
        "fill_s": filled,
        "reserve_settle_ms": 1e3 * statistics.median(taken),
        "reserve_settle_worst_ms": 1e3 * max(taken),
        "verify_s": verified,
        "verify_cpu_s": verified_cpu,
        "report_s": reported,
        "report_cpu_s": reported_cpu,
    }


SITE = """\
datasets: {chest: {manifest: manifest.csv}}
policy: {epsilon_cap: 100.0}
ledger: ledger.sqlite
"""


def fill(ledger: Ledger, entries: int) -> Account:
    """Runs of five steps a fit, until about so many entries stand there; the last run's account."""
    dataset, budget = Dataset("chest", "patient"), Budget(100.0, DELTA, "add_or_remove_one")
    fits = (entries - 2 * TIMED) // (2 * RUNS)
    for place in range(RUNS):
        mechanism = Mechanism(2.0 + place / 10, 0.01, UNITS, CAP)
        run = RunLabel(f"run-{place}", f"run {place}", "")
        account = ledger.plan(dataset, run, mechanism, 5 * (fits + TIMED), budget)
        for _ in range(fits):
            one_fit(account)
    return account


def one_fit(account: Account) -> None:
    """What stands around every fit."""
    account.settle(account.reserve(5), 5)


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name)
        for name in ("dp-accounting", "opacus", "numpy", "scipy", "cryptography")
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a ledger of 1,000 entries")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    options = parser.parse_args()
    print(f"{ACCOUNTANT}; " + ", ".join(f"{name} {v}" for name, v in versions().items()))
    table = {str(steps): compare(steps) for steps in STEPS} | {"three_jobs": three_jobs()}
    for name, row in table.items():
        print(f"{name:>10}  " + "  ".join(f"{key} {value:.4f}" for key, value in row.items()))
    more = {"pace": pace(), "capped_3000": epsilon({CAPPED: 3000}, DELTA)}
    print(f"     cap {CAP}: {more['capped_3000']:.4f} after 3,000 steps")
    print("  pace: " + ", ".join(f"{key} {value:.3f}" for key, value in more["pace"].items()))
    table["ledger"] = ledger_pace(1000 if options.quick else 10_000)
    print("ledger: " + ", ".join(f"{key} {value:.4g}" for key, value in table["ledger"].items()))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        record = table | {"more": more | {"versions": versions()}}
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
