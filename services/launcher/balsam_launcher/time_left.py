"""How long an allocation still lasts. Pure but for `find`, which may ask the batch system.

Sources: sbatch(1) and squeue(1) of Slurm 22.05 and 23.11; PBS Professional 2022.1 User's Guide, "Environment
Variables", and qstat(1B); bjobs(1) of LSF 10.1, field time_left; ALCF, "Running jobs" (Cobalt); flux-job(1) of
Flux 0.60, "timeleft".
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from balsam_launcher.allocation import ask


@dataclass(frozen=True)
class TimeLeft:
    """What is left.

    Attributes:
        seconds: so long; None: nobody says that there is a limit.
        source: who says so, for people; empty: there is no batch system.
        unknown: a batch system is there, and does not say.
    """

    seconds: float | None
    source: str = ""
    unknown: bool = False


NO_LIMIT = TimeLeft(None)

_LEAST_SECONDS = 60.0
"""Jobs that say nothing of their length are taken to last a minute, and some of this is over when the first comes."""

_CLOCK = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")
_SECONDS = re.compile(r"\d+(?:\.\d+)?")


def slurm_clock(text: str) -> float | None:
    """Seconds in Slurm's ``[days-][hours:]minutes:seconds``; infinity for UNLIMITED; None for what says nothing."""
    word = text.strip()
    if word == "UNLIMITED":
        return float("inf")
    found = _CLOCK.fullmatch(word)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def lsf_clock(text: str) -> float | None:
    """Seconds in what bjobs prints as time_left, ``hours:minutes`` and a letter; infinity for ``-``: no limit."""
    words = text.split()
    if words[:1] == ["-"]:
        return float("inf")
    found = re.fullmatch(r"(\d+):(\d+)", words[0]) if words else None
    return (int(found[1]) * 60.0 + int(found[2])) * 60 if found is not None else None


def pbs_status(text: str) -> float | None:
    """Seconds from what ``qstat -f`` prints: the wall time that was asked for less that which is used."""
    asked = re.search(r"Resource_List\.walltime = (\S+)", text)
    used = re.search(r"resources_used\.walltime = (\S+)", text)
    limit = slurm_clock(asked[1]) if asked is not None else None
    if limit is None:
        return None
    return max(0.0, limit - ((slurm_clock(used[1]) or 0.0) if used is not None else 0.0))


def flux_seconds(text: str) -> float | None:
    """Seconds from what ``flux job timeleft`` prints; infinity where there is no limit."""
    word = text.strip()
    if word in ("infinity", "inf"):
        return float("inf")
    return float(word) if _SECONDS.fullmatch(word) else None


def find(
    environ: Mapping[str, str],
    *,
    now: Callable[[], float] = time.time,
    ask: Callable[[Sequence[str], Mapping[str, str]], str] = ask,
) -> TimeLeft:
    """What is left of the allocation that this process is in. May run a command of the batch system.

    Args:
        environ: the environment.
        now: the time, as seconds since 1970.
        ask: runs a command, gives what it prints; empty where it fails.
    """
    for name in ("SLURM_JOB_END_TIME", "COBALT_ENDTIME"):
        if _SECONDS.fullmatch(environ.get(name, "")):
            return TimeLeft(max(0.0, float(environ[name]) - now()), name)
    for name, command, parse in _QUESTIONS:
        if name in environ:
            words = [word.replace("ID", environ[name]) for word in command]
            seconds = parse(ask(words, environ))
            if seconds is None and name == "PBS_JOBID" and environ.get("PBS_WALLTIME", "").isdecimal():
                return TimeLeft(float(environ["PBS_WALLTIME"]), "PBS_WALLTIME")  # of the whole allocation
            if seconds is None:
                return TimeLeft(None, " ".join(words), unknown=True)
            return TimeLeft(None if seconds == float("inf") else seconds, " ".join(words))
    if any(name in environ for name in _COBALT):  # which has no command that tells
        end = environ.get("COBALT_ENDTIME")
        return TimeLeft(None, "COBALT_ENDTIME" if end is None else f"COBALT_ENDTIME={end[:40]}", unknown=True)
    return NO_LIMIT


_COBALT = ("COBALT_ENDTIME", "COBALT_JOBID", "COBALT_NODEFILE", "COBALT_PARTNAME")
_QUESTIONS: tuple[tuple[str, tuple[str, ...], Callable[[str], float | None]], ...] = (
    ("SLURM_JOB_ID", ("squeue", "--noheader", "--jobs=ID", "--Format=TimeLeft"), slurm_clock),
    ("PBS_JOBID", ("qstat", "-f", "ID"), pbs_status),
    ("LSB_JOBID", ("bjobs", "-noheader", "-o", "time_left", "ID"), lsf_clock),
    ("FLUX_URI", ("flux", "job", "timeleft"), flux_seconds),
)


def usable(left: TimeLeft, margin_seconds: float) -> float | None:
    """Seconds that a launcher may use of what is left; None: no limit. A moment at least, in which it says so."""
    return None if left.seconds is None else max(1.0, left.seconds - margin_seconds)


def too_short(seconds: float | None, source: str, margin_seconds: float) -> str:
    """For people, where a launcher has so little time that hardly any job is started; else empty.

    Args:
        seconds: what it may use; None: there is no limit.
        source: who says so, if it is the batch system; empty: it was given as --time-limit-minutes.
        margin_seconds: what is kept of an allocation (stop_margin_seconds).
    """
    if seconds is None or seconds > _LEAST_SECONDS:
        return ""
    jobs = "no job is started but those with wall_time_minutes = 0, since less than a whole minute is left for it"
    if not source:
        return f"--time-limit-minutes {seconds / 60:g}: {jobs}; give 2 or more"
    return (
        f"{describe(TimeLeft(seconds + margin_seconds, source), margin_seconds)}: {jobs}; submit it for a longer time, "
        "or lower stop_margin_seconds in settings.toml"
    )


def describe(left: TimeLeft, margin_seconds: float) -> str:
    """For people: how long, and who says so."""
    if left.unknown:
        return f"not known: `{left.source}` does not say; give --time-limit-minutes"
    seconds = usable(left, margin_seconds)
    if seconds is None:
        return "no limit" + (f" (`{left.source}`)" if left.source else "")
    return f"{seconds / 60:.1f} minutes ({left.source}, less {margin_seconds:g} s: stop_margin_seconds)"
