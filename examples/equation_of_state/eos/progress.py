"""How far the campaign is: built from the events of its jobs, shown as a live table or as lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from eos.metals import METALS

END_STATES = ("JOB_FINISHED", "FAILED", "USER_KILLED")
WITH_RESULTS = ("fit", "reference", "universal")
"""Applications whose jobs' data is worth showing when they finish."""

_FAILED_DOT = ("✗", "red")
_WAITING_DOT = ("○", "dim")
_DOTS = {
    "RUNNING": ("◉", "yellow"),
    "JOB_FINISHED": ("●", "green"),
    "RUN_ERROR": _FAILED_DOT,
    "FAILED": _FAILED_DOT,
    "USER_KILLED": _FAILED_DOT,
}
_OTHERS = {"reference": "relaxed by ASE", "universal": "universal curve (MPI)", "plot": "figure"}


@dataclass
class Job:
    """What is shown of one job."""

    name: str
    application: str
    data: Mapping[str, Any]
    state: str = "CREATED"


@dataclass
class Progress:
    """The jobs of the campaign as last heard of."""

    jobs: dict[str, Job] = field(default_factory=dict)
    """By id, in the order in which they were heard of."""

    def unknown(self, job_ids: Iterable[str]) -> list[str]:
        """Those ids that were not heard of yet."""
        return [job_id for job_id in job_ids if job_id not in self.jobs]

    def add(self, job_id: str, job: Job) -> None:
        """A job that was heard of for the first time."""
        self.jobs[job_id] = job

    def move(self, job_id: str, state: str, message: str = "") -> str:
        """A job entered a state; gives a line for people where that is news, else an empty text."""
        job = self.jobs[job_id]
        changed, job.state = job.state != state, state
        if not changed or state not in END_STATES:
            return ""
        if state != "JOB_FINISHED":
            return f"{job.name}: {state}: {_in_one_line(message)}"
        return _news(job)

    def counts(self) -> Counter[str]:
        """Jobs by state."""
        return Counter(job.state for job in self.jobs.values())

    def failed(self) -> list[str]:
        """Names of the jobs that ended without finishing."""
        return [job.name for job in self.jobs.values() if job.state in END_STATES[1:]]

    def finished(self) -> bool:
        """Whether every job heard of has finished."""
        return all(job.state == "JOB_FINISHED" for job in self.jobs.values())

    def of(self, application: str, metal: str | None = None) -> list[Job]:
        """The jobs of an application, of one metal if it is given."""
        jobs = [job for job in self.jobs.values() if job.application == application]
        return [job for job in jobs if metal is None or job.data.get("metal") == metal]


def _in_one_line(message: str) -> str:
    """The reason and the last line of the output that follows it."""
    first, *others = message.strip().splitlines() or [""]
    return f"{first} ... {others[-1].strip()}" if others else first


def _news(job: Job) -> str:
    data = job.data
    if job.application == "fit":
        values = _values(data) if "lattice_constant" in data else "no minimum"
        verdict = "converged" if data["converged"] else f"goes on: {'; '.join(data['doubts'])}"
        return f"{data['metal']} scan {data['round'] + 1}: {values}; {verdict}"
    if job.application == "reference":
        return f"{data['metal']} relaxed by ASE: {_values(data)}"
    if job.application == "universal":
        ranks = len(data["points_of_ranks"])
        return f"universal curve on {ranks} MPI ranks: k = {data['k']:.4f}, rms {data['rms']:.2%} of Ec"
    if job.application == "plot":
        return "figure drawn"
    return ""


def _values(data: Mapping[str, Any]) -> str:
    return f"a = {data['lattice_constant']:.4f} Å, B = {data['bulk_modulus']:.1f} GPa"


def summary(progress: Progress, seconds: float) -> str:
    """One line: how many jobs are where, and for how long [s] it has been going on."""
    counts = progress.counts()
    done, running = counts.pop("JOB_FINISHED", 0), counts.pop("RUNNING", 0)
    failed = sum(counts.pop(state, 0) for state in END_STATES)
    parts = [f"{len(progress.jobs)} jobs", f"{done} finished", f"{running} running", f"{counts.total()} to come"]
    if failed:
        parts.append(f"{failed} failed")
    return f"{', '.join(parts)}  ({seconds:.0f} s)"


def view(progress: Progress, seconds: float) -> Group:
    """The live view: a row per metal, a dot per volume, and what waits for all of them."""
    table = Table(box=None, pad_edge=False)
    for heading, least in (("metal", 5), ("scans, volume by volume", 25), ("a (Å)", 8), ("B (GPa)", 7), ("", 10)):
        table.add_column(heading, min_width=least, no_wrap=True, justify="right" if "(" in heading else "left")
    for metal in METALS:
        table.add_row(*_row(progress, metal))
    others = Text()
    for application, label in _OTHERS.items():
        others.append(f"{label} ")
        others.append_text(_dots(progress.of(application)) or Text("○", style="dim"))
        others.append("    ")
    return Group(table, Text(), others, Text(summary(progress, seconds), style="bold"))


def _row(progress: Progress, metal: str) -> tuple[Text, Text, str, str, Text]:
    dots = Text()
    for number in range(1 + max((job.data["round"] for job in progress.of("volume", metal)), default=-1)):
        dots.append_text(_dots([j for j in progress.of("volume", metal) if j.data["round"] == number])).append("  ")
    fits = [job.data for job in progress.of("fit", metal) if "lattice_constant" in job.data]
    if not fits:
        return Text(metal, style="bold"), dots, "", "", Text()
    last = fits[-1]
    verdict = Text("✓ converged", style="green") if last["converged"] else Text("goes on", style="yellow")
    return Text(metal, style="bold"), dots, f"{last['lattice_constant']:.4f}", f"{last['bulk_modulus']:.1f}", verdict


def _dots(jobs: Iterable[Job]) -> Text:
    text = Text()
    for job in jobs:
        text.append(*_DOTS.get(job.state, _WAITING_DOT))
    return text
