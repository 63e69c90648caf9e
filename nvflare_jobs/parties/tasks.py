"""The tasks of a job, by name: what the coordinator asks of a site, and a message between two."""

READY = "fedefm_ready"  # are you there, what do you hold, what have you saved
ROUND = "fedefm_round"  # play one round
MEASURE = "fedefm_measure"  # tell what was measured in the round, in a sum over all sites
PUBLISH = "fedefm_publish"  # the last exchange, and measure what came of it
DISMISS = "fedefm_dismiss"  # the run does not begin: give back what was set aside for it
SHARE = "fedefm_share"  # one message between two parties
TASKS = "fedefm_*"
