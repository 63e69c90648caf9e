"""Who may ask a site's processes for what, over FLARE's cells.

FLARE 2.9 asks for rights where a person gives a command at the server. What comes over the wire to
a site's own processes it carries out, whoever sent it: a peer could have files read, folders
deleted, tasks done and events fired. Here a site answers its hub and itself, and takes of its peers
messages alone. The server has checked that a sender is who it says (by its token) when it passes a
request on; what nobody needs over the wire, the hub is refused as well.

A cell is called by its place: ``server``, ``server.JOB``, ``SITE``, ``SITE.JOB``.
"""

from dataclasses import dataclass

HUB = "server"
# FLARE's channels.
COMMANDS, JOB_COMMANDS, AUX = "admin", "client_command", "aux_communication"
CERTIFICATES, NETWORK, DEBUG = "credential_manager", "cellnet.channel", "_net_manager"
STREAM, REPLIES = "sm__STREAM", "return_only"
# And topics.
BYE, TASK = "bye", "__do_task__"
STATUS = "train.notify_job_status"  # a job tells its own parent, and goes on only once it is heard
NEVER = frozenset(  # files, folders and settings of the site's machine; components by their names
    {"sys.shell", "sys.report_env", "train.delete_run", "comp_caller.call"}
)


@dataclass(frozen=True)
class Asked:
    """One request: from whom, and for what. ``streamed`` is the channel that a stream is for."""

    origin: str
    channel: str
    topic: str
    streamed: str = ""
    streamed_topic: str = ""


def may_ask(own: str, asked: Asked) -> bool:
    """Whether the process whose cell is ``own`` answers at all."""
    if DEBUG in (asked.channel, asked.streamed):
        return False
    if asked.channel == COMMANDS and asked.topic in NEVER:
        return False
    site, _, job = own.partition(".")
    origin, _, of_job = asked.origin.partition(".")
    if asked.channel == COMMANDS:
        told = bool(of_job) and not job and origin == site and asked.topic == STATUS
        return asked.origin == HUB or told
    if asked.channel == JOB_COMMANDS:
        return asked.origin == site
    if origin in (HUB, site):
        return True
    return bool(job) and of_job == job and _is_of_messages(asked)


def _is_of_messages(asked: Asked) -> bool:
    """What a message of a peer, its answer, and their encryption need."""
    if asked.channel == STREAM:
        return asked.streamed in ("", REPLIES) or _is_task(asked.streamed, asked.streamed_topic)
    if asked.channel == NETWORK:
        return asked.topic == BYE
    return asked.channel == CERTIFICATES or _is_task(asked.channel, asked.topic)


def _is_task(channel: str, topic: str) -> bool:
    return channel == AUX and topic == TASK
