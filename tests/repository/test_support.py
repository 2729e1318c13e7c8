"""The harness itself: what fails must be seen to fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.site import Site
from tests.support.components import missing
from tests.support.processes import Services, services
from tests.support.sites import make_test_site, wait_until


def test_waiting_gives_what_came() -> None:
    answers: Iterator[object] = iter([None, [], "there"])
    assert wait_until(lambda: next(answers)) == "there"


def test_waiting_in_vain_fails_and_says_for_what() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"not after 0\.05 s: a miracle"):
        wait_until(lambda: False, 0.05, "a miracle")


def test_waiting_in_vain_shows_the_jobs_and_the_logs(site: Site) -> None:
    (site.log / "jobstore.log").write_text("the last words")
    with pytest.raises(pytest.fail.Exception, match=r"(?s)no job table: .*the last words"):
        wait_until(lambda: False, 0.05, site=site)


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_component_fails_in_ci_only(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no such thing"):
        missing("a component", "no such thing")


def test_a_service_that_does_not_start_fails_the_test(site: Site) -> None:
    with pytest.raises(pytest.fail.Exception, match="nonsense ended with 1 as it started"):
        Services(site).start("nonsense")


def test_a_traceback_in_a_log_fails_the_test(tmp_path: Path) -> None:
    site = make_test_site(tmp_path)

    def use() -> None:
        with services(site, "jobstore"):
            (site.log / "launcher.log").write_text("Traceback (most recent call last):")

    with pytest.raises(AssertionError, match=r"traceback in .*launcher\.log"):
        use()
