"""FLARE's errors as sentences that keep its words and show the way out."""

import pytest
from nvflare.fuel.flare_api import api_spec as flare

from fedefm.errors import ConfigError, FedEFMError, PolicyRefused, ProtocolError
from nvflare_jobs.admin.flare_words import NotRunning, ServerGone, in_our_words


@pytest.mark.parametrize(
    ("error", "kind", "way_out"),
    [
        (flare.AuthorizationError("user not authorized for 'submit_job'"), PolicyRefused, "a lead"),
        (flare.AuthenticationError("Incorrect user name"), PolicyRefused, "get a new kit"),
        (flare.NoConnection("cannot connect to server"), ServerGone, "check that it runs"),
        (flare.SessionExpired("session_inactive"), ServerGone, "check that it runs"),
        (flare.JobNotFound("no such job: x"), ConfigError, "fedefm job status"),
        (flare.JobNotDone("job x is still running"), ProtocolError, "fedefm job watch"),
        (flare.JobNotRunning("job x is not running"), NotRunning, "not running"),
        (flare.NoReply("no result"), NotRunning, "later"),
        (flare.InvalidJobDefinition("bad meta"), ConfigError, "does not take the job"),
        (RuntimeError("error receiving file"), ProtocolError, "submitting a job failed"),
    ],
)
def test_each_error_of_flare_is_a_sentence(
    error: Exception, kind: type[FedEFMError], way_out: str
) -> None:
    with pytest.raises(kind) as raised, in_our_words("lead@hub.org", "submitting a job"):
        raise error
    assert way_out in str(raised.value)
    assert f"FLARE says: {error}" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_our_own_errors_stay_as_they_are() -> None:
    with pytest.raises(ConfigError, match=r"^the site file$"), in_our_words("x", "y"):
        raise ConfigError("the site file")
