"""Setting up the campaign: its site, its applications, its first jobs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from eos import rounds
from eos.jobs import UNIVERSAL
from eos.metals import METALS

WORKFLOW = "equation-of-state"
MARKER = ".equation-of-state"
"""A file that says: this site was made by this program, which may make it anew."""

HERE = Path(__file__).resolve().parents[1]

# More threads than one make each of these short runs slower, and disturb those beside it.
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}


class SetupFailed(Exception):
    """A step of the set-up did not work; the message says which, and why."""


class Balsam:
    """Runs the `balsam` command on one site, telling `say` what it runs."""

    def __init__(self, site: Path, say: Callable[[str], None]) -> None:
        self.site = site
        self.say = say
        # The command of this interpreter's own environment first, for the runs of the campaign too.
        self.path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        self.environ = {**os.environ, "PATH": self.path, "BALSAM_DB_PATH": str(site)}

    def __call__(self, *words: str) -> str:
        """Runs `balsam WORDS...` and returns its output.

        Raises:
            SetupFailed: it did not exit with 0.
        """
        self.say(f"$ balsam {shlex.join(words)}")
        done = subprocess.run([self.program(), *words], env=self.environ, text=True, capture_output=True, check=False)
        if done.returncode:
            detail = (done.stderr or done.stdout).strip()
            raise SetupFailed(f"`balsam {shlex.join(words)}` exited with {done.returncode}: {detail}")
        return done.stdout

    def program(self) -> str:
        """Path of the command.

        Raises:
            SetupFailed: there is none.
        """
        found = shutil.which("balsam", path=self.path)
        if found is None:
            raise SetupFailed("the command `balsam` is not installed: run `pip install '.[demo]'` in the clone")
        return found

    def launcher(self, minutes: int, log: Path) -> subprocess.Popen[bytes]:
        """Starts a launcher for all jobs, its output in `log`; it exits when there is nothing left to do."""
        words = ["launcher", "--consume-all", "--job-mode", "auto", "--time-limit-minutes", str(minutes)]
        self.say(f"$ balsam {shlex.join(words)}  > {log}")
        # In a session of its own: an interrupt at the terminal is for this program, which then stops it.
        with open(log, "wb") as output:
            return subprocess.Popen(
                [self.program(), *words],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def make_site(balsam: Balsam) -> None:
    """Makes a fresh site; one that an earlier run of this program made is stopped and replaced.

    Raises:
        SetupFailed: something else is there, or the site cannot be made.
    """
    site = balsam.site
    if (site / MARKER).exists():
        balsam.say(f"replacing the site of an earlier run, {site}")
        if (site / "settings.toml").exists():
            balsam("down")
        shutil.rmtree(site)
    elif site.exists() and any(site.iterdir()):
        raise SetupFailed(f"{site} exists and was not made by this program; choose another place with --site")
    # First, so that a site that is half made can be replaced too.
    site.mkdir(parents=True, exist_ok=True)
    (site / MARKER).touch()
    balsam("init", str(site))


def register(balsam: Balsam) -> None:
    """Registers the applications, from the command line."""
    for name, description in (
        ("scan", "adds a job for each volume of a first scan, and a fit"),
        ("volume", "energy of one metal at one volume"),
        ("fit", "equation of state; adds a finer scan while it is not sure"),
        ("reference", "cell relaxation by ASE"),
        ("plot", "the figure"),
    ):
        balsam("app", "--name", name, "--executable", _command(HERE / f"{name}.py"), "--description", description)
    # Run as a module, mpi4py stops all ranks when one fails.
    executable = f"{shlex.quote(sys.executable)} -m mpi4py {_command(HERE / 'universal.py')}"
    postprocess = f"sh {_command(HERE / 'add_plot_job.sh')}"
    balsam(
        *("app", "--name", UNIVERSAL, "--description", "one binding curve for all metals, on several ranks"),
        *("--executable", executable, "--postprocess", postprocess),
    )


def _command(path: Path) -> str:
    return shlex.quote(str(path))


def add_first_jobs(balsam: Balsam, packing: int, ranks: int) -> None:
    """Adds the scans from the command line, and what needs no scan, or waits for all, from Python.

    `packing` serial jobs share the node; the universal curve runs on `ranks` MPI ranks.
    """
    lowest, highest, points = rounds.COARSE
    environment = [word for name, value in ENVIRONMENT.items() for word in ("--env", f"{name}={value}")]
    for metal in METALS:
        balsam(
            *("job", "--yes", "--name", f"scan-{metal}", "--workflow", WORKFLOW, "--application", "scan"),
            *("--args", f"{metal} {lowest} {highest} {points}", "--node-packing-count", str(packing), *environment),
        )
    _add_from_python(balsam, packing, ranks)


def _add_from_python(balsam: Balsam, packing: int, ranks: int) -> None:
    from balsam.launcher.dag import BalsamJob

    balsam.say("and from Python, the references and the universal curve: BalsamJob(...).save()")
    scans = list(BalsamJob.objects.filter(workflow=WORKFLOW, application="scan"))
    universal = BalsamJob(
        name=UNIVERSAL,
        workflow=WORKFLOW,
        application=UNIVERSAL,
        ranks_per_node=ranks,
        input_files="eos_*.json",
        environ_vars=ENVIRONMENT,
    )
    universal.set_parents(scans)
    universal.save()
    references = [
        BalsamJob(
            name=f"reference-{metal}",
            workflow=WORKFLOW,
            application="reference",
            args=metal,
            data={"metal": metal},
            node_packing_count=packing,
            environ_vars=ENVIRONMENT,
        )
        for metal in METALS
    ]
    BalsamJob.objects.bulk_create(references)
