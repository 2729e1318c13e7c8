"""The picture of the processes of a site, and of who connects to whom, over what.

It is drawn by hand here; of each process it names the module that it is started from, and of each connection the
function that opens it, so that a test sees whether they are still there.

python -m scripts.docs.processes    writes docs/img/processes.svg anew
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scripts.docs.drawing import FAINT, Box, arrow, picture, text
from scripts.docs.links import ROOT
from scripts.docs.walks import Named

PICTURE = ROOT / "docs" / "img" / "processes.svg"

_CLIENT, _STORE, _WEB = "client/balsam", "services/jobstore/balsam_jobstore", "web/balsam_web"
_SCHEDULER, _LAUNCHER = "services/scheduler/balsam_scheduler", "services/launcher/balsam_launcher"
_WIDTH, _HEIGHT = 980, 650
_OURS, _SERVICE, _OTHERS, _FRAME = "#e8f0fe", "#e6f4ea", "#f3f4f6", "#fafafa"


@dataclass(frozen=True)
class Process:
    """A box of the picture.

    Attributes:
        title: what it is called.
        box: where it is.
        notes: lines below the title.
        module: what it is started from, a path in the repository; empty: it is not ours.
        fill: its colour.
    """

    title: str
    box: Box
    notes: tuple[str, ...] = ()
    module: str = ""
    fill: str = _OTHERS


@dataclass(frozen=True)
class Way:
    """An arrow of the picture, from the one that connects.

    Attributes:
        title: what it is for.
        points: where it goes.
        opened_by: the function that opens the connection, or starts the process.
        label: lines of text beside it.
        at: where they begin.
        dashed: it is no connection: one starts or ends the other.
    """

    title: str
    points: tuple[tuple[float, float], ...]
    opened_by: Named
    label: tuple[str, ...] = ()
    at: tuple[float, float] = (0, 0)
    dashed: bool = False


FRAMES = (
    ("host of the launcher", Box(690, 40, 262, 316)),
    ("every other node of its allocation", Box(690, 400, 262, 160)),
)
PROCESSES = (
    Process(
        "balsam ..., import balsam",
        Box(20, 64, 210, 58),
        ("commands and programs",),
        "cli/balsam_cli/__main__.py",
        _OURS,
    ),
    Process("balsam web", Box(64, 196, 166, 50), ("the page",), f"{_WEB}/serving.py", _OURS),
    Process("browser", Box(64, 300, 166, 36)),
    Process("batch system", Box(20, 462, 210, 54), ("Slurm, PBS, LSF, Cobalt, Flux",)),
    Process("database", Box(370, 64, 230, 50), ("an SQLite file, or PostgreSQL",)),
    Process(
        "job store",
        Box(370, 184, 230, 66),
        ("the only one at the database; several", "over one PostgreSQL: LISTEN, NOTIFY"),
        f"{_STORE}/__main__.py",
        _SERVICE,
    ),
    Process("scheduler", Box(370, 340, 230, 50), ("rules, steps, launches",), f"{_SCHEDULER}/__main__.py", _SERVICE),
    Process("guard", Box(370, 466, 96, 50), ("outlives it",), f"{_SCHEDULER}/guard.py", _SERVICE),
    Process("scripts, copies", Box(480, 466, 120, 50), ("of steps",)),
    Process(
        "launcher", Box(706, 70, 230, 50), ("places, starts, reports; ledger",), f"{_LAUNCHER}/__main__.py", _SERVICE
    ),
    Process("warden", Box(706, 176, 105, 50), ("if agent hangs",), f"{_LAUNCHER}/warden.py", _SERVICE),
    Process("node agent", Box(831, 176, 105, 50), ("starts, reaps",), f"{_LAUNCHER}/agent.py", _SERVICE),
    Process("runs", Box(706, 286, 230, 50), ("processes of jobs, mpiexec",)),
    Process(
        "member", Box(706, 428, 230, 50), ("one a node; its line outlives cuts",), f"{_LAUNCHER}/member.py", _SERVICE
    ),
    Process("warden", Box(706, 508, 70, 34), (), f"{_LAUNCHER}/warden.py", _SERVICE),
    Process("agent", Box(786, 508, 70, 34), (), f"{_LAUNCHER}/agent.py", _SERVICE),
    Process("runs", Box(866, 508, 70, 34)),
)
WAYS = (
    Way(
        "commands and programs call the job store",
        ((230, 108), (330, 108), (330, 202), (370, 202)),
        Named("Connection._open", f"{_CLIENT}/rpc.py"),
        ("gRPC: Unix socket,", "or TCP with TLS"),
        (337, 144),
    ),
    Way(
        "commands ask a launcher for its state",
        ((230, 78), (300, 78), (300, 24), (821, 24), (821, 70)),
        Named("Connection._open", f"{_CLIENT}/rpc.py"),
        ("gRPC on the same host: what runs, stop",),
        (380, 18),
    ),
    Way(
        "a browser shows the page",
        ((147, 300), (147, 246)),
        Named("serve", f"{_WEB}/serving.py"),
        ("HTTP, loopback",),
        (154, 278),
    ),
    Way(
        "the page asks the job store",
        ((230, 226), (370, 226)),
        Named("Board._work", f"{_WEB}/board.py"),
        ("gRPC",),
        (264, 220),
    ),
    Way(
        "the job store writes and reads",
        ((485, 184), (485, 114)),
        Named("Database.writer", f"{_STORE}/database.py"),
        ("SQL",),
        (492, 152),
    ),
    Way(
        "the scheduler's session",
        ((485, 340), (485, 250)),
        Named("Worker._converse", f"{_CLIENT}/work.py"),
        ("gRPC: rules,", "steps"),
        (492, 292),
    ),
    Way(
        "the launcher's session and its line of work",
        ((706, 90), (656, 90), (656, 200), (600, 200)),
        Named("Worker._converse", f"{_CLIENT}/work.py"),
        ("gRPC:", "work,", "reports,", "outputs"),
        (610, 146),
    ),
    Way(
        "a job calls the job store with a token of its run",
        ((706, 311), (640, 311), (640, 232), (600, 232)),
        Named("RunTokens.make", f"{_STORE}/access.py"),
        ("gRPC, token", "of the run"),
        (612, 328),
    ),
    Way(
        "the guard hears what runs",
        ((422, 390), (422, 466)),
        Named("Guard._say", f"{_SCHEDULER}/guarding.py"),
        ("pipe",),
        (429, 432),
    ),
    Way(
        "the scheduler starts scripts",
        ((544, 390), (544, 466)),
        Named("Steps", f"{_SCHEDULER}/steps.py"),
        ("starts",),
        (551, 432),
        True,
    ),
    Way("the guard ends scripts", ((466, 491), (480, 491)), Named("main", f"{_SCHEDULER}/guard.py"), dashed=True),
    Way(
        "the warden hears until when there is trust",
        ((758, 120), (758, 176)),
        Named("AgentLink.trust", f"{_LAUNCHER}/agent_link.py"),
        ("pipe",),
        (765, 152),
    ),
    Way(
        "orders and notices",
        ((883, 120), (883, 176)),
        Named("AgentLink.start", f"{_LAUNCHER}/agent_link.py"),
        ("pipe",),
        (890, 152),
    ),
    Way(
        "the warden is the parent of the agent",
        ((811, 201), (831, 201)),
        Named("main", f"{_LAUNCHER}/warden.py"),
        dashed=True,
    ),
    Way(
        "the agent starts and ends processes",
        ((883, 226), (883, 286)),
        Named("Spawner.start", f"{_LAUNCHER}/spawning.py"),
        ("starts, signals",),
        (796, 260),
        True,
    ),
    Way(
        "the warden ends processes",
        ((758, 226), (758, 286)),
        Named("Warden._end", f"{_LAUNCHER}/warden.py"),
        dashed=True,
    ),
    Way(
        "the launcher has members started",
        ((760, 356), (760, 400)),
        Named("Starters._start", f"{_LAUNCHER}/starters.py"),
        ("by srun, mpiexec",),
        (768, 382),
        True,
    ),
    Way(
        "members connect to the launcher",
        ((936, 453), (966, 453), (966, 95), (936, 95)),
        Named("Member._converse", f"{_LAUNCHER}/member.py"),
        ("TCP, both prove a secret",),
        (800, 494),
    ),
    Way("to its agent and warden", ((770, 478), (770, 508)), Named("Member._new_keeper", f"{_LAUNCHER}/member.py")),
    Way(
        "the agent starts processes",
        ((856, 525), (866, 525)),
        Named("Spawner.start", f"{_LAUNCHER}/spawning.py"),
        dashed=True,
    ),
    Way(
        "commands submit launches",
        ((40, 122), (40, 462)),
        Named("submit", f"{_SCHEDULER}/batch/submitting.py"),
        ("sbatch, qsub, ...",),
        (47, 400),
    ),
    Way(
        "the scheduler looks after launches",
        ((370, 365), (280, 365), (280, 489), (230, 489)),
        Named("LaunchWatch.run", f"{_SCHEDULER}/launches.py"),
        ("squeue, qstat, ...",),
        (287, 430),
    ),
    Way(
        "the batch system starts launchers",
        ((125, 516), (125, 618), (664, 618), (664, 344), (690, 344)),
        Named("run", f"{_LAUNCHER}/main.py"),
        ("starts the launcher, on the first node of an allocation",),
        (230, 612),
        True,
    ),
)


def svg() -> str:
    """The picture."""
    parts = [part for title, box in FRAMES for part in _frame(title, box)]
    parts += [arrow(way.points, way.title, dashed=way.dashed) for way in WAYS]
    parts += [part for process in PROCESSES for part in _drawn(process)]
    parts += [
        text(way.at[0], way.at[1] + 13 * number, line, size=10.5, colour=FAINT)
        for way in WAYS
        for number, line in enumerate(way.label)
    ]
    parts.append(
        text(
            20,
            _HEIGHT - 10,
            "An arrow begins at the one that connects. Dashed: one starts or ends the other.",
            colour=FAINT,
        )
    )
    return picture(_WIDTH, _HEIGHT, "The processes of a site, and who connects to whom", parts)


def _frame(title: str, box: Box) -> Iterator[str]:
    yield box.drawn(_FRAME, "#9ca3af", radius=8, dashed=True)
    yield text(box.x + 16, box.y + 20, title, colour=FAINT)


def _drawn(process: Process) -> Iterator[str]:
    box = process.box
    yield box.drawn(process.fill)
    x, y = box.middle
    top = y + 4.5 - 7 * len(process.notes)
    yield text(x, top, process.title, size=12.5, bold=True, anchor="middle")
    for number, line in enumerate(process.notes, 1):
        yield text(x, top + 14.5 * number, line, size=10.5, colour=FAINT, anchor="middle")


if __name__ == "__main__":
    PICTURE.write_text(svg())
