"""Rights as FLARE itself evaluates them."""

import pytest
from nvflare.fuel.sec.authz import AuthzContext, Person
from nvflare.security.security import FLAuthorizer

from fedefm.errors import ProvisionError
from nvflare_jobs.components import ALLOWED_CLASSES
from provisioning import kit_files
from provisioning.rights import RIGHTS, authorization, grants, told_rights


def may(role: str, right: str, policy: dict, name: str = "ann@uni.org", org: str = "hub") -> bool:
    person = Person(name, org, role)
    authorizer = FLAuthorizer("hospital", policy)
    allowed, _ = authorizer.authorize(AuthzContext(right, person, person))
    return allowed


def test_jobs_may_build_exactly_what_our_jobs_are_made_of():
    assert kit_files.ALLOWED_CLASSES == ALLOWED_CLASSES


@pytest.mark.parametrize("role", RIGHTS)
@pytest.mark.parametrize("right", ["byoc", "cat", "head", "server-predeployed-flwr"])
def test_nobody_brings_code_or_reads_files(role, right):
    assert not may(role, right, authorization())


def test_flares_own_rights_let_the_project_admin_bring_code():
    """The test of the test: "any" means that, too."""
    assert may(
        "project_admin", "byoc", {"format_version": "1.0", "permissions": {"project_admin": "any"}}
    )


@pytest.mark.parametrize(
    "right", ["submit_job", "clone_job", "abort_job", "shutdown", "download_job"]
)
def test_the_privacy_officer_only_looks(right):
    assert not may("member", right, authorization())
    assert may("member", "list_jobs", authorization())


def test_the_lead_submits_and_stops_no_sites():
    assert may("lead", "submit_job", authorization())
    assert not may("lead", "shutdown", authorization())
    assert not may("lead", "disable_client", authorization())


def test_it_at_the_hub_keeps_sites_out():
    assert may("project_admin", "disable_client", authorization())


def test_retired_people_may_nothing_and_the_others_what_they_may():
    policy = authorization(["Ann@uni.org"])
    assert not may("lead", "submit_job", policy)
    assert not may("lead", "list_jobs", policy)
    assert may("lead", "submit_job", policy, name="bob@uni.org")


def test_unknown_roles_may_nothing():
    assert not may("visitor", "list_jobs", authorization())


@pytest.mark.parametrize(
    ("rights", "told"),
    [("any", "yes"), ({"byoc": "none"}, "no"), ({}, "no"), ({"byoc": ["not n:x"]}, "yes")],
)
def test_rights_are_told_as_flare_evaluates_them(rights, told):
    permissions = {"lead": rights}
    assert told_rights(permissions)["lead"]["byoc"] == told
    assert grants(permissions, "lead", "byoc") is (told == "yes")
    policy = {"format_version": "1.0", "permissions": {**permissions, "other": "any"}}
    if rights:
        assert may("lead", "byoc", policy) is (told == "yes")


@pytest.mark.parametrize("rights", [7, None, {"byoc": 7}, {"byoc": [7]}])
def test_a_right_that_is_no_word_is_told_with_its_file(rights):
    with pytest.raises(ProvisionError, match=r"local/authorization.json gives .* cannot read"):
        told_rights({"lead": rights})
