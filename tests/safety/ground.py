"""Where attacks are tried: one site with its services and a launcher, and what tells whether an attack got out.

- `outside`, a tree of files that nothing may touch, with content, modes and times that are compared afterwards;
- `own`, a directory that users name by themselves;
- `traps`, programs with the names of usual helpers, first on PATH: each writes down that it was started;
- PATH, LD_LIBRARY_PATH and PYTHONPATH of the services begin with an empty entry, as happens easily: by it programs,
  libraries and modules are looked for in the current directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from balsam.site import Site
from balsam.states import END, State
from balsam.v1 import application_pb2, application_service_pb2, job_pb2, job_service_pb2
from tests.support.processes import log_tails, running_launcher, services
from tests.support.rpc_client import Client, Refusal
from tests.support.sites import make_test_site, wait_until

ON_PATH = ("touch", "id", "curl", "wget", "nc", "rm", "cat", "ls", "evil", "xterm")
"""Helpers that no part of Balsam starts."""
IN_DIRECTORIES = ("sh", "bash", "env", "ssh", "scp", "sftp", "rsync", "mpiexec", "srun", "python3", "python")
"""Helpers that it does start, and never from the directory of a job."""

_PROBE = """#!/bin/sh
printf '%s\\0' "$@" > probe.argv
/usr/bin/env -0 > probe.env
"""

Snapshot = dict[str, tuple[Any, ...]]


class Ground:
    """The site, its surroundings, and what an attacker can do: send any message, and leave files in directories."""

    def __init__(self, directory: Path, site: Site) -> None:
        self.directory = directory
        self.site = site
        self.outside = directory / "outside"
        self.own = directory / "own"
        self.own.mkdir()
        self.started = directory / "started"
        self.probe = _script(directory / "probe", _PROBE)
        self._make_outside()
        self.traps = directory / "traps"
        for name in ON_PATH:
            self.trap(self.traps / name)
        self.client: Client | None = None

    def _make_outside(self) -> None:
        for name in ("a.dat", "sub/b.dat", "sub/deep/c.dat", "bashrc"):
            file = self.outside / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"precious {name}")
        (self.outside / "locked").mkdir(mode=0o500)
        (self.outside / "link").symlink_to("sub")
        for path in self.outside.rglob("*"):
            os.utime(path, (1_000_000_000, 1_000_000_000), follow_symlinks=False)

    def trap(self, path: Path) -> None:
        """Puts a program there that tells when it is started."""
        path.parent.mkdir(parents=True, exist_ok=True)
        _script(path, f'#!/bin/sh\necho "$0" >> {self.started}\nexit 0\n')

    # What an attacker says

    def add_app(self, **fields: Any) -> str:
        """Registers an application with a name of its own; gives that. Raises Refusal."""
        name = fields.pop("name", "") or f"app-{uuid.uuid4()}"
        application = application_pb2.Application(name=name, **({"executable": str(self.probe)} | fields))
        self._call(
            "ApplicationService/CreateApplication",
            application_service_pb2.CreateApplicationRequest(application=application),
        )
        return name

    def add(self, job_id: str, **fields: Any) -> job_service_pb2.Refusal | None:
        """Adds a job, without the checks of the library; gives why it was refused, if it was."""
        message = job_pb2.Job(job_id=job_id, **({"workflow": "w"} | fields))
        answer = self._call("JobService/CreateJobs", job_service_pb2.CreateJobsRequest(jobs=[message]))
        return answer.refusals[0] if answer.refusals else None

    def get(self, job_id: str) -> job_pb2.Job:
        """A job as it is now."""
        job: job_pb2.Job = self._call("JobService/GetJob", job_service_pb2.GetJobRequest(job_id=job_id))
        return job

    def wait(self, job_id: str) -> job_pb2.Job:
        """A job when it has ended, and nothing works on it any more."""

        def ended() -> job_pb2.Job | None:
            job = self.get(job_id)
            return job if State(job.state) in END and not job.leased else None

        found = wait_until(ended, 60.0, f"the end of {job_id}: {self.get(job_id)}", site=self.site)
        assert found is not None
        return found

    def _call(self, method: str, request: Any) -> Any:
        assert self.client is not None
        return self.client.call(method, request)

    # What became of it

    def snapshot(self) -> Snapshot:
        """All that nothing may touch: the tree outside, and what the site holds beside its working directories."""
        kept = [self.outside, self.traps, self.probe, self.site.credentials, self.site.path / "settings.toml"]
        found: Snapshot = {}
        for root in kept:
            for path in [root, *(root.rglob("*") if root.is_dir() else [])]:
                found[str(path)] = _state_of(path)
        for place in (self.directory, self.site.path):
            found[f"{place}/"] = tuple(sorted(set(os.listdir(place)) - {"started"}))
        return found

    def trespasses(self, before: Snapshot) -> list[str]:
        """What was touched since a snapshot, and what was started."""
        after = self.snapshot()
        touched = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
        started = self.started.read_text().split("\n") if self.started.exists() else []
        self.started.unlink(missing_ok=True)
        return sorted(touched) + [f"started {name}" for name in started if name]

    def strays(self, before: set[str], own: Path) -> list[str]:
        """What there is in data/ now, was not before, and is neither in a job's own directory nor above it."""
        new = self.data() - before
        return sorted(path for path in new if not (Path(path).is_relative_to(own) or own.is_relative_to(path)))

    def data(self) -> set[str]:
        """Every path in data/."""
        return {
            os.path.join(directory, name)
            for directory, subdirectories, files in os.walk(self.site.data)
            for name in [*subdirectories, *files]
        }


def _script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def _state_of(path: Path) -> tuple[Any, ...]:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    else:
        content = ""
    return status.st_mode, status.st_uid, status.st_size if content else 0, status.st_mtime_ns, content


@contextlib.contextmanager
def ground_in(directory: Path, environ: Mapping[str, str] = {}) -> Iterator[Ground]:
    """The ground, with services and a launcher that run."""
    site = make_test_site(directory, kill_grace_seconds=1.0, script_timeout_seconds=20.0)
    ground = Ground(directory, site)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("BALSAM_") and name != "BALSAM_PG_BIN"]:
            patch.delenv(name)
        patch.setenv("XDG_DATA_HOME", str(directory / "user-data"))
        patch.setenv("PATH", f":{ground.traps}:{os.environ['PATH']}")
        patch.setenv("LD_LIBRARY_PATH", ":")
        patch.setenv("PYTHONPATH", f":{os.environ.get('PYTHONPATH', '')}".rstrip(":") or ":")
        for name, value in environ.items():
            patch.setenv(name, value)
        with services(site), running_launcher(site, "--persistent"):
            ground.client = Client(site, patient=True)
            ground.wait(_first_job(ground))
            try:
                yield ground
            finally:
                ground.client.close()
    shutil.rmtree(ground.traps, ignore_errors=True)


def _first_job(ground: Ground) -> str:
    """Once this has run, all that services make for themselves is there."""
    job_id = str(uuid.uuid4())
    refusal = ground.add(job_id, name="first", application=ground.add_app())
    assert refusal is None, refusal
    return job_id


def story(ground: Ground, job: job_pb2.Job) -> str:
    """What a failed case should tell."""
    return f"{State(job.state).name}: {job.message}\n{log_tails(ground.site, 1500)}"


__all__ = ["IN_DIRECTORIES", "Ground", "Refusal", "ground_in", "story"]
