"""The page in a real browser. Each visit fails if the console has an error, or a request leaves the host."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, TimeoutError, expect

from balsam.client import Client
from balsam.site import Site
from tests.support import people
from tests.support.own_files import with_own_files
from tests.support.processes import Services, launcher, running_launcher
from tests.support.shared import module_services as module_services
from tests.support.shared import services as services
from tests.support.shared import site as site
from tests.support.sites import states, wait_for_states
from tests.web.conftest import SECONDS, Visit, Web, eventually, member_and_viewer, serving, visiting

expect.set_options(timeout=1000 * SECONDS)

Add = Callable[..., str]


def names(page: Page) -> list[str]:
    """Names of the jobs in the table, from its top."""
    return page.locator("tbody .name").all_inner_texts()


def badge(page: Page, job_id: str) -> str:
    """State of a job in the table."""
    return page.locator(f"tr[data-job='{job_id}'] .state").inner_text()


def tile(page: Page, name: str) -> str:
    """The number in a tile."""
    return page.locator(f".tile[data-key='{name}'] strong").inner_text()


def test_a_campaign_is_seen_to_its_end_without_reloading(site: Site, visit: Visit, add: Add) -> None:
    for number in range(20):
        add(f"job-{number}")
    add("bad", args="false")
    page = visit.open()
    eventually(lambda: tile(page, "Jobs") == "21", "21 jobs")
    assert tile(page, "Finished") == "0"
    loads = page.evaluate("performance.timeOrigin")
    launcher(site)
    eventually(lambda: tile(page, "Finished") == "20", "20 finished jobs")
    eventually(lambda: tile(page, "Failed") == "1", "a failed job")
    assert page.evaluate("performance.timeOrigin") == loads
    expect(page.locator(".states")).to_contain_text("JOB_FINISHED")
    assert page.locator("canvas").count() == 3


def test_the_table_follows_jobs_as_they_run(site: Site, visit: Visit, add: Add) -> None:
    job_id = add("one")
    page = visit.open("/jobs")
    eventually(lambda: badge(page, job_id) == "PREPROCESSED", "the job is PREPROCESSED")
    launcher(site)
    eventually(lambda: badge(page, job_id) == "JOB_FINISHED", "the job is JOB_FINISHED")
    add("two")
    eventually(lambda: names(page) == ["two", "one"], "the new job comes first")


def test_a_filter_is_in_the_url_and_outlives_a_reload(visit: Visit, add: Add) -> None:
    for name in ("sim-1", "sim-2", "plot"):
        add(name, workflow="physics")
    add("sim-3", workflow="other")
    page = visit.open("/jobs")
    expect(page.locator("tbody tr")).to_have_count(4)
    page.get_by_label("Name").fill("sim*")
    page.get_by_label("Workflow", exact=True).fill("physics")
    page.get_by_label("Workflow", exact=True).press("Enter")
    eventually(lambda: names(page) == ["sim-2", "sim-1"], "the two that match")
    address = page.url
    assert address.endswith("/jobs?name=sim*&wf=physics")
    page.reload()
    eventually(lambda: names(page) == ["sim-2", "sim-1"], "the same after a reload")
    assert page.url == address
    assert page.get_by_label("Name").input_value() == "sim*"
    page.go_back()
    eventually(lambda: len(names(page)) == 4, "all, one step back")


def test_a_wrong_filter_says_what_is_wrong(visit: Visit) -> None:
    visit.expected = ["400"]
    page = visit.open("/jobs?state=LOST")
    expect(page.locator(".problem")).to_contain_text("state = 'LOST': does not exist (states: CREATED")


def test_pages_follow_each_other(site: Site, visit: Visit, add: Add) -> None:
    for number in range(7):
        add(f"job-{number}")
    page = visit.open("/jobs?rows=3")
    shown = []
    for expected in (["job-6", "job-5", "job-4"], ["job-3", "job-2", "job-1"], ["job-0"]):
        eventually(lambda expected=expected: names(page) == expected, f"{expected}")  # type: ignore[misc]
        shown += names(page)
        if page.get_by_text("Next page").count():
            page.get_by_text("Next page").click()
    assert len(set(shown)) == 7
    page.reload()
    eventually(lambda: names(page) == ["job-0"], "the last page again")
    page.get_by_text("First page").click()
    eventually(lambda: names(page)[:1] == ["job-6"], "the first page")


def test_jobs_are_killed_from_the_table(site: Site, visit: Visit, add: Add) -> None:
    one, two = add("one"), add("two")
    add("child", parents=[one])
    page = visit.open("/jobs")
    page.get_by_label("Choose one").check()
    page.get_by_role("button", name="Kill").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"Kill job one ({one[:8]})?")
    dialog.get_by_label("all jobs that depend").check()
    dialog.get_by_role("button", name="Kill").click()
    expect(page.locator("#toast")).to_contain_text("2 jobs killed")
    eventually(lambda: badge(page, one) == "USER_KILLED", "the job is killed")
    wait_for_states(site, {"one": "USER_KILLED", "child": "USER_KILLED"})
    assert badge(page, two) != "USER_KILLED"


def test_to_think_better_of_it_changes_nothing(site: Site, visit: Visit, add: Add) -> None:
    job_id = add("one")
    page = visit.open(f"/jobs/{job_id}")
    page.get_by_role("button", name="Kill").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Kill").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert states(site) != {"one": "USER_KILLED"}


def test_a_failed_job_is_run_again_and_first(site: Site, visit: Visit, add: Add) -> None:
    job_id = add("bad", args="false")
    launcher(site)
    page = visit.open(f"/jobs/{job_id}")
    expect(page.locator("main > .row .state")).to_have_text("FAILED")
    page.get_by_role("button", name="Run again").click()
    page.get_by_role("dialog").get_by_role("button", name="Run again").click()
    expect(page.locator("main > .row .state")).to_have_text("RESTART_READY")
    page.get_by_role("button", name="Priority").click()
    page.get_by_label("Priority; higher starts first").fill("7")
    page.get_by_role("button", name="Set").click()
    expect(page.locator("#toast")).to_contain_text("1 job changed")
    assert Client(site).jobs.get(job_id)["priority"] == 7


def test_a_job_shows_its_history_output_and_relatives(site: Site, visit: Visit, add: Add) -> None:
    parent = add("first", args="echo hello")
    job_id = add("second", args="echo a <b>word</b>", parents=[parent])
    add("third", parents=[job_id])
    launcher(site)
    page = visit.open(f"/jobs/{job_id}")
    expect(page.locator("pre")).to_have_text("a <b>word</b>\n")
    for state in ("CREATED", "AWAITING_PARENTS", "RUNNING", "JOB_FINISHED"):
        expect(page.locator("table")).to_contain_text(state)
    columns = page.locator(".column")
    expect(columns.nth(0)).to_contain_text("first")
    expect(columns.nth(2)).to_contain_text("third")
    assert page.locator(".lines path").count() == 2
    columns.nth(0).get_by_role("link").click()
    expect(page.locator("h1")).to_contain_text("first")
    expect(page.locator("pre")).to_have_text("hello\n")
    assert page.url.endswith(f"/jobs/{parent}")


def test_the_start_of_an_id_leads_to_the_job_and_of_several_to_the_table(visit: Visit, add: Add) -> None:
    one, *others = (f"{start}-0000-4000-8000-000000000000" for start in ("0a0b0c01", "0a0b0d02", "0a0b0d03"))
    for job_id in (one, *others):
        add("named", job_id=job_id)
    page = visit.open("/jobs/0A0B0C")
    expect(page.locator("h1")).to_contain_text("0a0b0c01")
    assert page.url == visit.web.address(f"/jobs/{one}")
    page = visit.open("/jobs/0a0b0d")
    expect(page.locator("tbody tr")).to_have_count(2)
    assert page.url == visit.web.address("/jobs?id=0a0b0d")
    expect(page.locator("#live")).to_contain_text("live")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/jobs/zzz", "begins with zzz"),
        ("/jobs/%E0", "begins with %E0"),
        ("/jobs/00000000-0000-4000-8000-000000000000", "00000000-0000-4000-8000-000000000000"),
        ("/nope", "there is no page /nope"),
    ],
)
def test_what_is_not_there_is_said_with_a_way_back(visit: Visit, path: str, said: str) -> None:
    visit.expected = ["404"]
    page = visit.open(path)
    expect(page.locator("main")).to_contain_text(said)
    expect(page.locator("h1")).to_have_text("Not found")
    expect(page.locator("#live")).to_have_text("live")
    expect(page.locator("#banner")).to_be_hidden()
    page.get_by_role("link", name="All jobs").click()
    expect(page.locator("h1")).to_have_text("Jobs")


def test_output_grows_while_the_job_runs(site: Site, visit: Visit, add: Add, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = f"echo begun; while [ ! -e {gate} ]; do sleep 0.05; done; echo over"
    job_id = add("slow", args=f'sh -c "{script}"')
    page = visit.open(f"/jobs/{job_id}")
    expect(page.get_by_text("the job has not run")).to_be_visible()
    with running_launcher(site):
        expect(page.locator("pre")).to_have_text("begun\n")
        gate.touch()
        expect(page.locator("pre")).to_have_text("begun\nover\n")


def test_output_of_a_job_elsewhere_is_sent_and_stays_when_the_run_has_ended(
    site: Site, visit: Visit, add: Add, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    job_id = add("far", args=f'sh -c "echo begun; while [ ! -e {gate} ]; do sleep 0.05; done; echo over"')
    page = visit.open(f"/jobs/{job_id}")
    with running_launcher(site, words=with_own_files(site.data)):
        expect(page.locator("pre")).to_have_text("begun\n")
        expect(page.get_by_text("sent by its launcher")).to_be_visible()
        gate.touch()
        expect(page.locator("pre")).to_have_text("begun\nover\n")


EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def test_nothing_that_a_job_says_becomes_part_of_the_page(site: Site, visit: Visit, add: Add) -> None:
    name = EVIL.replace("/", "")
    text = f"{EVIL}</pre>\u202eevil"
    job_id = add(name, workflow="a<b>", description=text, data={"<i>": EVIL}, args=f"echo '{EVIL}'")
    add(name, parents=[job_id], wait_for_parents=False)
    Client(site).jobs.set_state([job_id], "FAILED", text)
    page = visit.open("/jobs")
    page.on("dialog", lambda dialog: visit.wrong.append(dialog.message))
    eventually(lambda: names(page) == [name, name], "the names as they are")
    page.get_by_role("link", name=job_id[:8]).click()
    expect(page.locator(".said")).to_contain_text(EVIL)
    expect(page.locator(".facts")).to_contain_text(EVIL)
    expect(page.locator(".column").nth(2)).to_contain_text(name)
    assert page.locator("main img, main script, main b b, main i").count() == 0


def test_a_viewer_has_no_buttons_and_sees_everything(
    site: Site, services: Services, chromium: Browser, add: Add, tmp_path: Path
) -> None:
    _, viewer = member_and_viewer(site)
    job_id = add("one")
    with serving(site, BALSAM_TOKEN_FILE=people.token_file(tmp_path, viewer)) as web, visiting(chromium, web) as visit:
        page = visit.open("/jobs")
        eventually(lambda: names(page) == ["one"], "the job")
        assert page.locator(".where").inner_text().endswith("vic (viewer)")
        assert page.locator("input[type=checkbox], .acts button").count() == 0
        page.goto(web.address(f"/jobs/{job_id}"))
        expect(page.locator("h1")).to_contain_text("one")
        assert page.locator("main button").count() == 0
        # Not only hidden: the job store refuses.
        body = f'{{"job_ids": ["{job_id}"]}}'
        visit.expected = ["403"]
        answer = page.evaluate(
            "body => fetch('/api/actions/kill', {method: 'POST', body,"
            " headers: {'x-balsam-key': localStorage.getItem('balsam-key')}}).then((r) => r.json())",
            body,
        )
        assert "not allowed to a viewer token" in str(answer)
    assert states(site) != {"one": "USER_KILLED"}


def test_a_member_changes_their_own_jobs(
    site: Site, services: Services, chromium: Browser, add: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    member, _ = member_and_viewer(site)
    theirs = add("theirs")
    file = people.token_file(tmp_path, member)
    with monkeypatch.context() as patch:
        patch.setenv("BALSAM_TOKEN_FILE", file)
        mine = "00000000-0000-4000-8000-00000000000a"
        Client(site).jobs.create([{"job_id": mine, "name": "mine", "args": "true"}])
    with serving(site, BALSAM_TOKEN_FILE=file) as web, visiting(chromium, web) as visit:
        page = visit.open("/jobs")
        expect(page.get_by_label("Choose mine")).to_be_enabled()
        expect(page.get_by_label("Choose theirs")).to_be_disabled()
        page.goto(web.address(f"/jobs/{theirs}"))
        expect(page.locator("h1")).to_contain_text("theirs")
        assert page.locator(".acts button").count() == 0
        page.goto(web.address(f"/jobs/{mine}"))
        page.get_by_role("button", name="Kill").click()
        page.get_by_role("dialog").get_by_role("button", name="Kill").click()
        expect(page.locator("main > .row .state")).to_have_text("USER_KILLED")


def test_a_job_store_that_goes_away_is_told_and_comes_back(services: Services, visit: Visit, add: Add) -> None:
    add("one")
    visit.expected = ["503"]
    page = visit.open()
    eventually(lambda: tile(page, "Jobs") == "1", "a job")
    services.kill("jobstore")
    expect(page.locator("#banner")).to_contain_text("not running")
    assert tile(page, "Jobs") == "1"
    services.start("jobstore")
    expect(page.locator("#banner")).to_be_hidden()
    add("two")
    eventually(lambda: tile(page, "Jobs") == "2", "another job")


def test_ctrl_c_ends_it_at_once_and_the_page_says_so(visit: Visit) -> None:
    visit.expected = ["ERR_"]
    page = visit.open()
    visit.web.process.send_signal(signal.SIGINT)
    assert visit.web.process.wait(SECONDS) == 0
    expect(page.locator("#banner")).to_contain_text("`balsam web` does not answer")
    expect(page.locator("#live")).to_contain_text("not connected")


def test_a_stranger_sees_how_to_get_in(visit: Visit) -> None:
    visit.expected = ["401"]
    page = visit.context.new_page()
    page.goto(visit.web.address("/jobs"))
    expect(page.locator("main")).to_contain_text("open the link that `balsam web` has printed last")
    page.goto(visit.web.address("/#token=wrong"))
    page.reload()
    expect(page.locator("main")).to_contain_text("Not let in")


def test_the_link_is_gone_from_the_address_and_another_tab_is_let_in(visit: Visit) -> None:
    page = visit.open()
    assert page.url == visit.web.address("/")
    other = visit.open("/jobs")
    expect(other.locator("h1")).to_have_text("Jobs")


def test_it_is_used_by_the_keyboard_alone(site: Site, visit: Visit, add: Add) -> None:
    add("one")
    page = visit.open()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Jobs":
            break
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Jobs")
    page.get_by_label("Choose one").focus()
    page.keyboard.press("Space")
    for _ in range(20):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.textContent") == "Kill":
            break
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Kill").focus()
    page.keyboard.press("Enter")
    wait_for_states(site, {"one": "USER_KILLED"})


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_nothing_is_cut_off(site: Site, chromium: Browser, web: Web, add: Add, width: int, scheme: str) -> None:
    long = "a_very_long_name_without_a_place_to_break_in_it_" * 4
    parent = add(long, workflow="w" * 150, args="echo " + "x" * 3000, description="d" * 3000)
    add("b", parents=[parent], wait_for_parents=False)
    launcher(site)
    with visiting(chromium, web, color_scheme=scheme) as visit:
        page = visit.open()
        page.set_viewport_size({"width": width, "height": 900})
        for path in ("/", "/jobs", f"/jobs/{parent}", "/launches"):
            page.goto(web.address(path))
            expect(page.locator("main h1, main h2").first).to_be_attached()
            page.wait_for_selector("#live[data-state=on]")
            if path.startswith("/jobs/"):
                expect(page.locator("pre")).to_contain_text("xxx")
            if path == "/jobs":
                states = page.locator(f"tr[data-job='{parent}'] .state")
                expect(states).to_be_visible()
                box = states.bounding_box()
                assert box is not None
                assert box["x"] + box["width"] <= width
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_nodes_in_use_are_told_by_the_launchers(site: Site, visit: Visit, add: Add, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = f"while [ ! -e {gate} ]; do sleep 0.05; done"
    for number in range(2):
        add(f"quarter-{number}", args=f'sh -c "{script}"', node_packing_count=4)
    with running_launcher(site):
        page = visit.open()
        note = page.locator(".tile[data-key='Nodes'] .tile-note")
        expect(note).to_have_text("50 % in use")
        page.goto(visit.web.address("/launches"))
        expect(page.get_by_label("0.5 of 1 nodes in use")).to_be_attached()
        gate.touch()
        expect(page.get_by_text("None. Start one here with: balsam launcher")).to_be_visible()


def test_ticks_are_written_as_they_are(visit: Visit) -> None:
    page = visit.open()
    written = "import('/static/dom.js').then(({ parts }) => [0, 0.25, 0.75, 1, 0.0025, 12.5, 1003, 250000].map(parts))"
    assert page.evaluate(written) == ["0", "0.25", "0.75", "1", "0.0025", "12.5", "1,003", "250K"]


def test_an_idle_page_asks_nothing(visit: Visit, add: Add) -> None:
    """It is told when there is news."""
    add("one")
    page = visit.open("/jobs")
    eventually(lambda: names(page) == ["one"], "the job")

    def is_quiet() -> bool:
        try:
            page.wait_for_event("request", timeout=2000)
        except TimeoutError:
            return True
        return False

    eventually(is_quiet, "two seconds without a request")
