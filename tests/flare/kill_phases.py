"""Kill -9 at every point of a round on really provisioned sites, and print what is lost.

    python tests/flare/kill_phases.py [--quick] [--only DEATH ...] [--json PATH]

A private run with secure sums and expert rounds, four sites. In one long job a site's process is
killed in each phase of a round, one after the other, each time when all sites take part again;
then a whole site, which is started again three rounds later. In jobs of their own a site dies for
good, the server's process of the job dies, and the whole server. Seconds lost are those by which
the round of the death was longer than the median of rounds in which nothing dies.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import nvflare
from deaths import SUM_PHASES, Found, begins, events, kill_job, sends, settles, trains, watch
from loopback import SERVER, Federation, until
from tiny import SITES, tiny_run, write_tiny_sites

PHASES = ("training", "settle", "weights", "expert", *SUM_PHASES)
DEATHS = ("phases", "server-job", "site", "server")
QUICK = ("training",)  # the dead site has begun the round, and cannot have finished it
ROUNDS, LONG_ROUNDS, QUICK_ROUNDS = 6, 150, 60
LOCAL_STEPS, EXPERT_EVERY, DEADLINE_S, AWAY, JOB_S = 20, 3, 15, 3, 900.0


@dataclass
class Row:
    """What one death did. ``missed`` are the rounds that the dead site was not in, and why."""

    what: str
    killed: str
    in_round: int
    missed: dict[int, str] = field(default_factory=dict)
    others_missed: list[str] = field(default_factory=list)
    seconds_lost: float | None = None
    status: str = ""
    ledgers_verify: bool = False
    note: str = ""


def settings(name: str, rounds: int) -> dict[str, Any]:
    """One cohort of all sites, an expert round with a partner every third round."""
    run = tiny_run(
        name,
        rounds=rounds,
        local_steps=LOCAL_STEPS,
        expert_every=EXPERT_EVERY,
        topology="complete",
        schedule="grid",
        cohort=len(SITES),
        deadline_s=DEADLINE_S,
        evaluate_every=rounds,
    )
    dp = {"noise_multiplier": 1.0, "patients_per_step": 6}
    return {**run, "privacy": {"dp": dp, "secagg": {"largest_site": 40}}}


def processes_die(federation: Federation, phases: tuple[str, ...], rounds: int) -> list[Row]:
    """One job, in which a site's process dies in each of ``phases``, and then a whole site."""
    job = submit(federation, "phases", rounds)
    rows: list[Row] = []
    for phase in phases:
        dead = [row.killed for row in rows]
        fewest = min(dead.count(site) for site in SITES)
        tired = [site for site in SITES if dead.count(site) > fewest + 1]
        site, in_round = watch(_where(federation, job, phase, _all_there(federation, job), tired))
        kill_job(federation, site, job)
        rows.append(Row(f"job process, in {phase}", site, in_round))
        print(f"  killed {site} in round {in_round}, {phase}", flush=True)
    site, in_round = watch(begins(federation, job, SITES[-1], _all_there(federation, job)))
    federation.kill(site)
    watch(begins(federation, job, site, in_round + AWAY))
    federation.start(site)
    rows.append(Row(f"whole site, started again {AWAY} rounds later", site, in_round))
    return finished(federation, job, rows)


def site_dies(federation: Federation) -> list[Row]:
    """All of a site is gone and stays away."""
    job = submit(federation, "site", ROUNDS)
    site, in_round = watch(begins(federation, job, SITES[1], 0))
    federation.kill(site)
    rows = finished(federation, job, [Row("whole site, for good", site, in_round)])
    federation.start(site)
    federation.wait_ready()
    return rows


def server_job_dies(federation: Federation) -> list[Row]:
    """The server's process of the job dies; the run is resumed by another job."""
    job = submit(federation, "server-job", ROUNDS)
    _, in_round = watch(begins(federation, job, SERVER, 1))
    kill_job(federation, SERVER, job)
    return resumed(federation, "server-job", job, Row("server's job process", SERVER, in_round))


def server_dies(federation: Federation) -> list[Row]:
    """All of the server is gone, and started with its own script."""
    job = submit(federation, "server", ROUNDS)
    _, in_round = watch(begins(federation, job, SERVER, 1))
    federation.kill(SERVER)
    federation.start(SERVER)
    federation.wait_ready()
    return resumed(federation, "server", job, Row("whole server", SERVER, in_round))


def submit(federation: Federation, name: str, rounds: int, *options: str) -> str:
    """The id of the new job."""
    return federation.submit(federation.export(settings(f"die-{name}", rounds), *options))


def finished(federation: Federation, job: str, rows: list[Row]) -> list[Row]:
    """The rows with what became of the job."""
    status = federation.wait(job, JOB_S)
    verify = _ledgers_verify(federation)
    closed = [
        each for each in events(_downloaded(federation, job)) if each["event"] == "round_finished"
    ]
    full = [each for each in closed if not each["missing"]]
    usual = {kind: _median([e for e in full if _kind(e) == kind]) for kind in (True, False)}
    for row, after in zip(rows, [*(row.in_round for row in rows[1:]), 10**9], strict=True):
        row.status, row.ledgers_verify = status, verify
        for each in closed:
            if not row.in_round <= each["round"] < after:
                continue
            missing = dict(each["missing"])
            if row.killed in missing:
                row.missed[each["round"]] = missing.pop(row.killed)
            row.others_missed += [f"{s} in {each['round']}: {why}" for s, why in missing.items()]
            if each["round"] == row.in_round:
                row.seconds_lost = round(each["seconds"] - usual[_kind(each)], 1)
    return rows


def resumed(federation: Federation, name: str, job: str, row: Row) -> list[Row]:
    """The job has ended with a word that says so, its processes are gone, and the run goes on."""
    ended = federation.wait(job, JOB_S)
    until("no process of it is left", lambda: not _processes(federation, job), JOB_S)
    kit = str(federation.kit("lead@hub.org"))
    told = federation.fedefm("job", "status", job, "--kit", kit, check=False)
    again = submit(federation, name, ROUNDS, "--resume")
    row.note = f"{ended}, resumed. {' '.join((told.stdout + told.stderr).split())}"
    (row,) = finished(federation, again, [row])
    begun = [e for e in events(_downloaded(federation, again)) if e["event"] == "round_started"]
    row.note = f"resumed in round {begun[0]['round']}; {row.note}"
    return [row]


def _downloaded(federation: Federation, job: str) -> Path:
    there = list((federation.folder / "downloads").glob(f"**/{job}/**/fedefm_run"))
    return there[0] if there else federation.download(job)


def _where(
    federation: Federation, job: str, phase: str, after: int, spared: list[str]
) -> Callable[[], Found | None]:
    site = next(site for site in SITES if site not in spared)
    if phase == "training":
        return trains(federation, site, job, "die-phases", after)
    if phase == "settle":
        return settles(federation, site, job, after)
    return sends(federation, job, phase, after, spared)


def _all_there(federation: Federation, job: str) -> int:
    """A round in which all take part, after all that went before; it is over."""
    known = len(_closed(federation, job))

    def look() -> Found | None:
        full = [each for each in _closed(federation, job)[known:] if not each["missing"]]
        return ("", full[-1]["round"]) if full else None

    return watch(look, JOB_S)[1]


def _closed(federation: Federation, job: str) -> list[dict[str, Any]]:
    told = events(federation.run_folder(job))
    return [each for each in told if each["event"] == "round_finished"]


def _kind(event: dict[str, Any]) -> bool:
    return (event["round"] + 1) % EXPERT_EVERY == 0


def _median(rounds: list[dict[str, Any]]) -> float:
    return statistics.median([each["seconds"] for each in rounds] or [0.0])


def _processes(federation: Federation, job: str) -> list[str]:
    return [n for n in (SERVER, *SITES) if federation.job_process(n, job) is not None]


def _ledgers_verify(federation: Federation) -> bool:
    files = [federation.kit(site) / "local" / "fedefm_site.yaml" for site in SITES]
    said = [federation.fedefm("privacy", "verify", str(file), check=False) for file in files]
    return all(one.returncode == 0 for one in said)


def deaths_of(federation: Federation, quick: bool) -> dict[str, Callable[[], list[Row]]]:
    """Each is a job of its own, but for resumed ones."""
    phases, rounds = (QUICK, QUICK_ROUNDS) if quick else (PHASES, LONG_ROUNDS)
    return {
        "phases": lambda: processes_die(federation, phases, rounds),
        "server-job": lambda: server_job_dies(federation),
        "site": lambda: site_dies(federation),
        "server": lambda: server_dies(federation),
    }


def _print(row: Row) -> None:
    lost = "?" if row.seconds_lost is None else f"{row.seconds_lost:+.1f} s"
    verify = "ledgers verify" if row.ledgers_verify else "A LEDGER DOES NOT VERIFY"
    print(f"{row.what:40} {row.status:20} {lost:>9}  missed {sorted(row.missed)}  {verify}")
    for told in (*row.others_missed, row.note):
        if told:
            print(f"    {told}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one phase, and the rest")
    parser.add_argument("--only", nargs="+", choices=DEATHS, default=DEATHS, metavar="DEATH")
    parser.add_argument("--json", type=Path, help="where to write the rows; others there stay")
    parser.add_argument("--folder", type=Path, help="keeps what is left of the kits, for looking")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fedefm-deaths-") as temporary:
        folder = options.folder or Path(temporary)
        sites = write_tiny_sites(folder / "sites")
        with Federation(folder, sites, SITES) as federation:
            federation.provision()
            federation.start()
            federation.be("lead@hub.org")
            federation.wait_ready()
            deaths = deaths_of(federation, options.quick)
            for rows in (deaths[death]() for death in options.only):
                for row in rows:
                    _print(row)
                if options.json:
                    _keep(rows, options.json)


def _keep(rows: list[Row], path: Path) -> None:
    """Each with the load under which it was seen; earlier rows of the same death make place."""
    load = round(os.getloadavg()[0], 1)
    told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    new = {row.what: {**asdict(row), "load": load} for row in rows}
    told["rows"] = [each for each in told["rows"] if each["what"] not in new] + list(new.values())
    told["run"] = {"sites": len(SITES), "deadline_s": DEADLINE_S, "expert_every": EXPERT_EVERY}
    told["versions"] = {"nvflare": nvflare.__version__, "python": platform.python_version()}
    path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
