"""What a receiver sees of one site as it is, in a run whose sums are secure or not.

A sum hides its parts; a model that somebody else is to train, and the expert that comes back, are
no sums and cannot hide in one. What bounds them is differential privacy, or nothing.
"""

from fedefm.config import RunConfig
from fedefm.train.effort import is_expert_round


def single_releases(run: RunConfig) -> tuple[str, ...]:
    """The kinds of a site's messages that one receiver sees whole.

    ``parts``: of sums, where these are plain. ``weights``: a model on its way to a host.
    ``experts``: what the host made of it, unless these come home as a sum.
    """
    federation = run.federation
    if federation.algorithm == "none":
        return ()
    released = () if run.privacy.secagg is not None else ("parts",)
    if federation.algorithm != "fedefm":
        return released
    if not any(is_expert_round(run, k) for k in range(federation.rounds)):
        return released
    hidden = federation.expert == "aggregated" and run.privacy.secagg is not None
    return (*released, "weights", *(() if hidden else ("experts",)))
