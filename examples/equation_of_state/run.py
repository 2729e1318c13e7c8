"""The equation of state of seven fcc metals: a campaign of about a hundred jobs that decides by itself what to compute.

Makes a fresh Balsam site, starts its services, registers the applications, adds the first jobs, runs a launcher
until nothing is left to do, shows the progress, and checks the results. Exit status: 0 where they agree with
the reference, 1 where they do not or something failed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live

from eos import progress as view
from eos import report
from eos.campaign import WORKFLOW, Balsam, SetupFailed, add_first_jobs, make_site, register

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from balsam.launcher.dag import BalsamJob
    from eos.events import Move

RANKS = 2
LIMIT_MINUTES = 10
"""The launcher stops after this: the campaign takes less than one."""
PICTURE = "equation_of_state.png"


def main() -> int:
    """Runs the campaign; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--site", type=Path, default=Path("demo-site"), help="directory of the fresh site")
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    balsam = Balsam(options.site.absolute(), lambda line: console.print(line, markup=False, style="dim"))
    try:
        check_environment(balsam)
        make_site(balsam)
        with services(balsam):
            return campaign(balsam, console)
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130
    except (SetupFailed, report.Incomplete) as error:
        print(f"the campaign failed: {error}", file=sys.stderr)
        return 1


def check_environment(balsam: Balsam) -> None:
    """Raises SetupFailed where a package or a program is missing."""
    missing = [name for name in ("ase", "matplotlib", "mpi4py") if importlib.util.find_spec(name) is None]
    if shutil.which("mpiexec", path=balsam.path) is None:
        missing.append("mpiexec")
    if missing:
        raise SetupFailed(f"{', '.join(missing)} not found: run `pip install '.[demo]'` in the clone")
    balsam.program()


@contextlib.contextmanager
def services(balsam: Balsam) -> Iterator[None]:
    """The services of the site, stopped at the end whatever happens."""
    # For the Python API in this process too.
    os.environ["BALSAM_DB_PATH"] = str(balsam.site)
    try:
        balsam("up")
        yield
    finally:
        balsam("down")


def campaign(balsam: Balsam, console: Console) -> int:
    """Sets up, runs and checks; returns the exit status."""
    register(balsam)
    add_first_jobs(balsam, packing=len(os.sched_getaffinity(0)), ranks=RANKS)
    console.print()
    started = time.monotonic()
    log = balsam.site / "log" / "campaign-launcher.out"
    launcher = balsam.launcher(LIMIT_MINUTES, log)
    try:
        progress = follow(launcher, balsam.site, console)
    finally:
        stop(launcher)
    console.print(f"\nthe launcher has ended: {view.summary(progress, time.monotonic() - started)}\n")
    if not progress.finished():
        say_what_failed(progress, launcher.returncode, log, console)
        return 1
    return show_results(balsam, console)


def follow(launcher: subprocess.Popen[bytes], site: Path, console: Console) -> view.Progress:
    """Shows the progress from the event stream until the launcher has exited."""
    from balsam.site import open_site
    from eos.events import Watch

    progress, started = view.Progress(), time.monotonic()
    news: queue.SimpleQueue[Sequence[Move] | None] = queue.SimpleQueue()

    def await_exit() -> None:
        launcher.wait()
        news.put(None)

    threading.Thread(target=await_exit, daemon=True).start()
    watch = Watch(open_site(site), WORKFLOW, news.put)
    try:
        with live(progress, started, console):
            while (moves := news.get()) is not None:
                take_in(progress, moves, started, console)
            catch_up(progress, started, console)
    finally:
        watch.close()
    return progress


def live(progress: view.Progress, started: float, console: Console) -> contextlib.AbstractContextManager[object]:
    """The live table where there is a terminal, else nothing: the lines are enough."""
    if not console.is_terminal:
        return contextlib.nullcontext()
    return Live(
        get_renderable=lambda: view.view(progress, time.monotonic() - started), console=console, refresh_per_second=8
    )


def take_in(progress: view.Progress, moves: Sequence[Move], started: float, console: Console) -> None:
    """Brings the progress up to date, and prints what is news."""
    from balsam.launcher.dag import BalsamJob

    new = progress.unknown(dict.fromkeys(move.job_id for move in moves))
    done = [
        move.job_id
        for move in moves
        if move.state == "JOB_FINISHED" and move.job_id not in new and has_results(progress, move.job_id)
    ]
    if new or done:
        for job in BalsamJob.objects.filter(job_id__in=[*new, *done]):
            job_id = str(job.job_id)
            known = progress.jobs.get(job_id)
            if known is None:
                progress.add(job_id, view.Job(job.name, job.application, job.data))
            else:
                known.data = job.data
    for move in moves:
        line = progress.move(move.job_id, move.state, move.message)
        if line:
            console.print(f"{time.monotonic() - started:5.1f} s  {line}", markup=False)


def has_results(progress: view.Progress, job_id: str) -> bool:
    """Whether the data of a job is shown when it finishes."""
    return progress.jobs[job_id].application in view.WITH_RESULTS


def catch_up(progress: view.Progress, started: float, console: Console) -> None:
    """The last moves may still be on their way when the launcher has exited: asks once for where all stand."""
    from balsam.launcher.dag import BalsamJob
    from eos.events import Move

    jobs: list[BalsamJob] = list(BalsamJob.objects.filter(workflow=WORKFLOW))
    moves = [Move(str(job.job_id), job.state, job.get_recent_state_str()) for job in jobs]
    take_in(progress, moves, started, console)


def stop(launcher: subprocess.Popen[bytes]) -> None:
    """Asks a launcher that still runs to stop its runs and exit; insists after a while."""
    if launcher.poll() is None:
        launcher.terminate()
        try:
            launcher.wait(timeout=20)
        except subprocess.TimeoutExpired:
            launcher.kill()
            launcher.wait()


def say_what_failed(progress: view.Progress, code: int, log: Path, console: Console) -> None:
    """What did not finish, and where to read more."""
    names = progress.failed() or [job.name for job in progress.jobs.values() if job.state != "JOB_FINISHED"]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    console.print(f"not finished: {shown}; `balsam up`, then `balsam show ID`, says more", style="red", markup=False)
    if code:
        said = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
        console.print(f"the launcher exited with {code}; last in {log}: {said[-1]}", style="red", markup=False)


def show_results(balsam: Balsam, console: Console) -> int:
    """Prints and writes the results; returns the exit status."""
    from balsam.launcher.dag import BalsamJob

    def data_of(application: str) -> list[dict[str, Any]]:
        return [job.data for job in BalsamJob.objects.filter(workflow=WORKFLOW, application=application)]

    (universal,) = data_of("universal")
    references = {str(data["metal"]): data for data in data_of("reference")}
    results = report.rows(data_of("fit"), references, universal)
    files = report.write(results, universal, balsam.site)
    picture = balsam.site / PICTURE
    plot = BalsamJob.objects.get(workflow=WORKFLOW, application="plot")
    shutil.copyfile(Path(plot.working_directory) / PICTURE, picture)
    show_tables(results, universal, Console(highlight=False, width=max(console.width, 110)))
    wrong = report.deviations(results)
    for sentence in wrong:
        console.print(sentence, style="red", markup=False)
    say_where(balsam, [picture, *files], str(plot.job_id), console)
    return 1 if wrong else 0


def show_tables(results: Sequence[report.Row], universal: Mapping[str, Any], console: Console) -> None:
    """The tables, each under its title."""
    console.print("[bold]Equations of state, and the cell as ASE relaxes it[/bold]")
    console.print(report.results_table(results))
    console.print(" relaxed: FrechetCellFilter + BFGS to 1e-4 eV/Å, B from its stress; measured: Kittel, 8th ed.")
    console.print("\n[bold]One binding curve for all metals[/bold]")
    console.print(report.universal_table(results))
    console.print(f" {report.universal_caption(universal)}")


def say_where(balsam: Balsam, files: Sequence[Path], job_id: str, console: Console) -> None:
    """Where the results are, and what to type next."""
    console.print("\n[bold]Results[/bold]")
    for file in files:
        console.print(f"  {file}", markup=False)
    console.print("\n[bold]Look around[/bold] (the services are stopped now)")
    lines = [f"export BALSAM_DB_PATH={balsam.site}", "balsam up", "balsam ls --by-states", "balsam ls apps"]
    lines += [f"balsam ls --wf {WORKFLOW} --name 'fit-*'", f"balsam show {job_id[:8]}", "balsam down"]
    if shutil.which("balsam") is None:
        lines.insert(0, f'export PATH="{Path(sys.executable).parent}:$PATH"')
    for line in lines:
        console.print(f"  {line}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
