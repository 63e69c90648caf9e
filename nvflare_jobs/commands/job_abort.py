"""``fedefm job abort``: end a job at all sites, or take it back before it begins."""

import json

from fedefm.errors import ConfigError
from nvflare_jobs.commands.job_options import AsJson, Job, Kit, server_of


def abort(job: Job, kit: Kit = None, as_json: AsJson = False) -> None:
    """End a job. What the sites have saved stays, and `--resume` goes on with it.

    Example: fedefm job abort 4f9b4b1c-0d7e-4c4c-9d0e-2a0c3a1d3f11 --kit lead@hub.org
    """
    with server_of(kit, as_json) as server:
        from nvflare_jobs.admin.job_facts import OVER, facts_of

        facts = facts_of(server.meta(job))
        if facts.stage == OVER:
            raise ConfigError(f"there is nothing to abort: {facts.sentence()}")
        server.abort(job)
    if as_json:
        print(json.dumps({"job": job, "name": facts.name, "aborted": True}))
        return
    print(f"job {facts.name} is being aborted; the sites keep what they have saved of it")
