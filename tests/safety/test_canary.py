"""Secrets are planted, a site works with them, and they are found nowhere but where they belong."""

from __future__ import annotations

import contextlib
import shlex
import stat
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from balsam.site import Site
from balsam.states import State
from balsam_jobstore.postgres import Cluster
from tests.cli.conftest import Balsam
from tests.cli.conftest import balsam as balsam
from tests.cli.conftest import balsam_process as balsam_process
from tests.support import people
from tests.support.dumps import dump_of_site
from tests.support.processes import launcher, services
from tests.support.rpc_client import METHODS, Client, Refusal, empty
from tests.support.scheduling import Jobs
from tests.support.sites import jobs as all_jobs
from tests.support.sites import make_test_site

ENVIRON = {name: f"canary-{uuid.uuid4()}" for name in ("MY_TOKEN", "DB_PASSWORD", "AWS_SECRET_KEY", "PLAIN")}
URL_PASSWORD = f"canary-{uuid.uuid4()}"
_LOOK_SECONDS = 0.005


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("in the address", marks=pytest.mark.postgres),
        pytest.param("in its query", marks=[pytest.mark.postgres, pytest.mark.slow]),
    ]
)
def database(request: pytest.FixtureRequest) -> tuple[str, str]:
    """(setting, password) of a database: of a server, the address holds the password, in either form."""
    if request.param == "sqlite":
        return "sqlite", ""
    cluster: Cluster = request.getfixturevalue("postgres_cluster")
    password = cluster.password_file.read_text().strip().split(":")[-1]
    url = sqlalchemy.make_url(request.getfixturevalue("postgres_url")).difference_update_query(["passfile"])
    if request.param == "in its query":
        return url.update_query_dict({"password": password}).render_as_string(hide_password=False), password
    return url.set(password=password).render_as_string(hide_password=False), password


@pytest.fixture
def site(tmp_path: Path, database: tuple[str, str]) -> Site:
    return make_test_site(tmp_path, database[0])


class Argv:
    """All words of all processes, seen again and again by a thread."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Looks as long as the block runs."""
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    self.seen.add(process.read_bytes())


def test_a_secret_is_found_nowhere(
    site: Site, database: tuple[str, str], balsam: Balsam, balsam_process: Balsam, tmp_path: Path
) -> None:
    argv = Argv()
    with argv.watched(), services(site):
        _work(site, tmp_path)
        members = _work_of_a_member(site, tmp_path, balsam_process)
        shown = _shown(site, balsam, balsam_process)
        errors = _errors(site)
        assert balsam("export", str(tmp_path / "export.jsonl"), "--yes").status == 0
        rows = _rows(site)
    names = ("run", "script", "her run", "her script")
    tokens = {(tmp_path / "tokens" / name).read_text().strip() for name in names}
    tokens |= {site.owner_token_file.read_text().strip(), members}
    assert len(tokens) == 6
    assert all(len(token) > 20 for token in tokens)
    logs = {str(file): file.read_bytes() for file in site.path.rglob("*") if _is_public(site, file)}
    export = (tmp_path / "export.jsonl").read_bytes()
    assert any(b"the-canary-s-cage" in words for words in argv.seen), "nobody looked at the run"
    assert b"finished-well" in rows, "nobody looked at the rows"

    secrets = tokens | ({database[1]} - {""})
    for secret in secrets | set(ENVIRON.values()) | {URL_PASSWORD}:
        said = secret.encode()
        assert [words for words in argv.seen if said in words] == []
        assert [name for name, text in logs.items() if said in text] == []
        assert [name for name, text in (shown | errors).items() if secret in text] == []
    for secret in secrets:
        assert secret.encode() not in rows
        assert secret.encode() not in export
    assert _modes(site, tmp_path) == {"settings.toml": 0o600, "export.jsonl": 0o600, "owner.token": 0o600}


def _work(site: Site, directory: Path) -> None:
    """Jobs that use every way by which a secret travels, and fail in every way that says something of them."""
    jobs = Jobs(site)
    (directory / "tokens").mkdir()
    ids = [
        jobs.add("run", args=_keep(directory, "run"), environ_vars=ENVIRON),
        jobs.add("finished-well", args="true the-canary-s-cage", environ_vars=ENVIRON, data='{"x": 1}'),
        jobs.add("fails", args="sh -c 'exit 3'", environ_vars=ENVIRON),
        jobs.add("no command", args="/no/such/command", environ_vars=ENVIRON),
        jobs.add("script", application=jobs.add_app("a", preprocess=_keep(directory, "script")), environ_vars=ENVIRON),
        jobs.add("bad script", application=jobs.add_app("b", preprocess="false"), environ_vars=ENVIRON),
        jobs.add("shell", application=jobs.add_app("c", envscript="/no/such/script"), environ_vars=ENVIRON),
        jobs.add("staged", args="true", stage_in_url=f"ftp://me:{URL_PASSWORD}@127.0.0.1:1/x", environ_vars=ENVIRON),
        jobs.add("copied", args="true", stage_in_url=f"sftp://me:{URL_PASSWORD}@127.0.0.1:1/x", environ_vars=ENVIRON),
        jobs.add("ranks", args="sleep 0.2", ranks_per_node=2, environ_vars=ENVIRON),
    ]
    launcher(site)
    for job_id in ids:
        jobs.wait(job_id, State.JOB_FINISHED, State.FAILED)
    jobs.close()


def _work_of_a_member(site: Site, directory: Path, balsam_process: Balsam) -> str:
    """The same of a user who was added with `balsam server`, whose launcher does her scripts; gives her token."""
    added = balsam_process("server", "--add-user", "ann", "--json")
    assert added.status == 0, added.err
    token = str(added.json["token"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BALSAM_TOKEN_FILE", people.token_file(directory, token))
        jobs = Jobs(site)
        app = jobs.add_app("hers", preprocess=_keep(directory, "her script"))
        job_id = jobs.add("hers", application=app, environ_vars=ENVIRON)
        jobs.add("her run", args=_keep(directory, "her run"), environ_vars=ENVIRON)
        launcher(site)
        jobs.wait(job_id, State.JOB_FINISHED)
        assert balsam_process("why", job_id, BALSAM_TOKEN_FILE=people.token_file(directory, token)).status == 0
        jobs.close()
    return token


def _keep(directory: Path, name: str) -> str:
    """A command that keeps the credential that it was given, and lasts long enough to be looked at."""
    script = f"echo $BALSAM_JOB_TOKEN > '{directory}/tokens/{name}'; sleep 0.3; : the-canary-s-cage"
    return f"sh -c {shlex.quote(script)}"


def _shown(site: Site, balsam: Balsam, balsam_process: Balsam) -> dict[str, str]:
    """What commands say that are no questions about one job."""
    commands = [
        ("status",),
        ("status", "--json"),
        ("which",),
        ("which", "--json"),
        ("doctor", "--json"),
        ("ls", "--history"),
        ("ls",),
        ("log", "-n", "1000"),
        ("ls", "apps"),
    ]
    found = {" ".join(words): balsam(*words) for words in commands}
    found["doctor"] = balsam_process("doctor", timeout=100.0)
    assert all(result.out for result in found.values()), {name: result.err for name, result in found.items()}
    return {name: result.out + result.err for name, result in found.items()}


def _errors(site: Site) -> dict[str, str]:
    """What services answer to those who ask wrongly, and what a job's own messages say."""
    client = Client(site, patient=True)
    found = {}
    for method in METHODS:
        if METHODS[method].server_streaming and not METHODS[method].client_streaming:
            continue
        for token in (None, "owner.wrong", "run.1.1.wrong"):
            try:
                client.call(method, empty(method), token=token)
            except Refusal as refusal:
                found[f"{method} {token}"] = f"{refusal.details} {refusal.reason} {refusal.field}"
    client.close()
    found |= {f"message of {job.name}": job.message for job in all_jobs(site)}
    assert len(found) > 40
    return found


def _rows(site: Site) -> bytes:
    """All rows of all tables."""
    return repr(dump_of_site(site)).encode()


def _is_public(site: Site, file: Path) -> bool:
    """What people are shown, or send to others: all but credentials, settings, the database, and what jobs write."""
    private = (site.credentials, site.database, site.data, site.path / "settings.toml", site.path / "ledger")
    return file.is_file() and not any(file == place or place in file.parents for place in private)


def _modes(site: Site, directory: Path) -> dict[str, int]:
    files = [site.path / "settings.toml", directory / "export.jsonl", site.owner_token_file]
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in files}
