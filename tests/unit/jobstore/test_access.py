"""Who may call what."""

from __future__ import annotations

from pathlib import Path

import pytest

from balsam.errors import NotAllowed
from balsam.site import Site
from balsam_jobstore.access import METHODS, OWNER, RUN, RunTokens, authorizer, read_key
from balsam_jobstore.rows import OWNER_KEY
from balsam_jobstore.users import Users
from tests.support import rpc_client


def test_every_method_that_is_served_has_its_roles_and_no_other_has() -> None:
    assert METHODS.keys() == rpc_client.METHODS.keys()
    assert all(OWNER in rule.roles for rule in METHODS.values())


def test_a_run_creates_no_applications_and_opens_no_sessions() -> None:
    owners = {method for method, rule in METHODS.items() if RUN not in rule.roles}
    assert {f"ApplicationService/{verb}Application" for verb in ("Create", "Update", "Delete")} <= owners
    assert {f"LaunchService/{verb}Launch" for verb in ("Create", "Update", "Delete")} <= owners
    assert {f"SessionService/{verb}" for verb in ("OpenSession", "CloseSession", "RegisterRules", "Work")} <= owners


@pytest.fixture
def tokens(site: Site) -> RunTokens:
    tokens = RunTokens(read_key(site))
    tokens.live[7] = (2, "the job", OWNER_KEY)
    return tokens


def test_the_owner_s_token_may_do_everything(site: Site, tokens: RunTokens) -> None:
    authorize = authorizer(site, tokens, Users("me"))
    owner = site.owner_token_file.read_text().strip()
    for method in METHODS:
        assert authorize(f"/balsam.v1.{method}", owner).role == OWNER


def test_a_run_s_token_names_its_job_while_it_is_leased(site: Site, tokens: RunTokens) -> None:
    authorize = authorizer(site, tokens, Users("me"))
    token = tokens.make(7, 2)
    caller = authorize("/balsam.v1.JobService/GetJob", token)
    assert (caller.role, caller.job_id) == (RUN, "the job")
    with pytest.raises(NotAllowed, match=r"CreateApplication is not allowed to a run token"):
        authorize("/balsam.v1.ApplicationService/CreateApplication", token)
    tokens.live.clear()
    with pytest.raises(NotAllowed, match="has ended") as caught:
        authorize("/balsam.v1.JobService/GetJob", token)
    assert caught.value.reason == "UNAUTHENTICATED"


@pytest.mark.parametrize("method", ["/balsam.v1.JobService/Nothing", "/other.Service/GetJob", "JobService/GetJob", ""])
def test_a_method_that_is_not_in_the_table_is_denied_to_all(site: Site, tokens: RunTokens, method: str) -> None:
    authorize = authorizer(site, tokens, Users("me"))
    for token in (site.owner_token_file.read_text().strip(), tokens.make(7, 2)):
        with pytest.raises(NotAllowed, match="is not allowed"):
            authorize(method, token)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "owner.",
        "run.",
        "run.7.2",
        "run.7.2.",
        "run.7.2.é",
        "run.٧.2.x",
        "run.-7.2.x",
        "run.7.2." + "0" * 300,
        "x" * 10_000,
    ],
)
def test_nonsense_is_no_token(site: Site, tokens: RunTokens, token: str) -> None:
    with pytest.raises(NotAllowed) as caught:
        authorizer(site, tokens, Users("me"))("/balsam.v1.SiteService/GetSite", token)
    assert caught.value.reason == "UNAUTHENTICATED"


def test_the_token_of_one_lease_is_not_that_of_another(tokens: RunTokens) -> None:
    mac = tokens.make(7, 2).rsplit(".", 1)[1]
    assert tokens.job_id(f"run.7.2.{mac}") == "the job"
    assert tokens.job_id(f"run.7.1.{mac}") == ""
    assert tokens.job_id(f"run.8.2.{mac}") == ""


def test_the_key_of_a_site_is_its_own(tmp_path: Path) -> None:
    from balsam.site import make_site

    keys = {read_key(make_site(tmp_path / name)) for name in "ab"}
    assert len(keys) == 2
    assert {len(key) for key in keys} == {32}
