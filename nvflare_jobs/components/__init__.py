"""What a job can build at a server or a site, and nothing else.

A class that a site allows can be built by any job author, with arguments of their choice. So the
list names classes one by one, and these take settings only: no paths, no code. Gate and budget
guard are no job's: the site builds them from its own files, which docs/flare.md shows.
"""

ALLOWED_CLASSES = (
    "nvflare_jobs.components.coordinator.Coordinator",
    "nvflare_jobs.components.site_executor.SiteExecutor",
)
