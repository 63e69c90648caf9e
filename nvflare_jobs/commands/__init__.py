"""One file per group of commands; ``nvflare_jobs.cli`` puts them together."""
