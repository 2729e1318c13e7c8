"""The commands of `tests.support.queues`, as one script that is called by their names. Imports nothing of ours."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

Job = dict[str, Any]

HERE = Path(__file__).resolve().parent
JOBS = HERE / "jobs"
KIND = (HERE / "kind").read_text()
PROGRAM = Path(sys.argv[0]).name
WORDS = sys.argv[1:]


def fail(text: str, code: int) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(code)


def after(option: str, default: str = "") -> str:
    """The word after an option, or what is attached to it with `=`."""
    for number, word in enumerate(WORDS):
        if word == option:
            return WORDS[number + 1]
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return default


def jobs() -> list[Job]:
    return [json.loads(path.read_text()) for path in sorted(JOBS.glob("*.json"), key=lambda path: int(path.stem))]


def find(job_id: str) -> Job | None:
    """By what stands before the first dot; the first letter of Flux's ids may be written in two ways."""
    wanted = job_id.partition(".")[0].replace("ƒ", "f")
    return next((job for job in jobs() if job["id"].partition(".")[0].replace("ƒ", "f") == wanted), None)


def keep(job: Job) -> None:
    (JOBS / f"{job['number']}.json").write_text(json.dumps(job))


def add(pattern: str, **values: str) -> str:
    number = 1 + max([int(path.stem) for path in JOBS.glob("*.json")], default=710)
    keep({"number": number, "id": pattern.format(number), "state": "queued", **values})
    return pattern.format(number)


def trouble(submits: bool) -> str:
    """What is to go wrong after a submission."""
    path = HERE / "trouble"
    what, _, text = path.read_text().partition("\n") if path.exists() else ("", "", "")
    if what == "hang":
        time.sleep(600)
    if what == "fail" or (what == "refuse" and submits):
        fail(text, 1)
    return text if what == "lost-answer" and submits else ""


def submit(pattern: str, shown: str, **values: str) -> None:
    lost = trouble(submits=True)
    job_id = add(pattern, **values)
    if lost:
        fail(lost, 1)
    print(shown.format(job_id))


# PBS


def pbs_qsub() -> None:
    if len(after("-N")) > 15:
        fail("qsub: illegal -N value", 1)
    submit("{}.server", "{}", name=after("-N"), output=after("-o"), script=WORDS[-1])


def pbs_qstat() -> None:
    trouble(submits=False)
    code = 0
    for job_id in WORDS[1:]:
        job = find(job_id)
        if job is None:
            code = 153
            print(f"qstat: Unknown Job Id {job_id}", file=sys.stderr)
        elif job["state"] == "ended":
            code = 35
            said = f"qstat: {job_id} Job has finished, use -x or -H to obtain historical job information"
            print(said, file=sys.stderr)
        else:
            state = {"queued": "Q", "running": "R"}.get(job["state"], job["state"])
            print(f"Job Id: {job['id']}\n    Job_Name = {job['name']}\n    Job_Owner = me@host")
            print(
                f"    job_state = {state}\n    queue = workq\n    Variable_List = PBS_O_HOME=/home/me,\n\tPBS_O_LANG=C"
            )
            if "comment" in job:
                print(f"    comment = {job['comment']}")
            print()
    sys.exit(code)


def pbs_qselect() -> None:
    trouble(submits=False)
    for job in jobs():
        if job["name"] == after("-N") and job["state"] != "ended":
            print(job["id"])


def pbs_qdel() -> None:
    trouble(submits=False)
    job = find(WORDS[-1])
    if job is None:
        fail(f"qdel: Unknown Job Id {WORDS[-1]}", 153)
    if job["state"] == "ended":
        fail(f"qdel: Job has finished {WORDS[-1]}", 35)
    keep(job | {"state": "ended"})


# LSF


def lsf_bsub() -> None:
    script = HERE / f"stdin.{os.getpid()}"
    script.write_text(sys.stdin.read())
    shown = "Job <{}> is submitted to default queue <normal>."
    submit("{}", shown, name=after("-J"), output=after("-o"), script=str(script))


def lsf_bjobs() -> None:
    trouble(submits=False)
    name = after("-J")
    ids = [word for word in WORDS if word.isdigit()]
    wanted = [job for job in jobs() if job["name"] == name] if name else [find(one) for one in ids]
    absent = [name] if name and not wanted else [one for one in ids if find(one) is None]
    for job in filter(None, wanted):
        state = {"queued": "PEND", "running": "RUN", "ended": "DONE"}.get(job["state"], job["state"])
        print(f"{job['id']}|{state}|{job['name']}")
    for one in absent:
        print(f"Job <{one}> is not found", file=sys.stderr)
    sys.exit(255 if absent else 0)


def lsf_bkill() -> None:
    trouble(submits=False)
    job = find(WORDS[-1])
    if job is None:
        fail(f"Job <{WORDS[-1]}>: No matching job found", 255)
    if job["state"] == "ended":
        fail(f"Job <{WORDS[-1]}>: Job has already finished", 255)
    keep(job | {"state": "ended"})
    print(f"Job <{WORDS[-1]}> is being terminated")


# Cobalt


def cobalt_qsub() -> None:
    if not os.access(WORDS[-1], os.X_OK):
        fail(f"command {WORDS[-1]} is not executable", 1)
    if not (after("-t") and after("-n")):
        fail("'time' not provided", 1)
    shown = 'Job routed to queue "default".\nMemory mode set to cache quad for queue default\n{}'
    submit("{}", shown, name=after("--jobname"), output=after("-o"), script=WORDS[-1])


def cobalt_qstat() -> None:
    trouble(submits=False)
    ids = [word for word in WORDS if word.isdigit()]
    rows = [job for job in jobs() if job["state"] != "ended" and (not ids or job["id"] in ids)]
    if ids and not rows:
        sys.exit(1)
    print("JobID  JobName             State   \n===================================")
    for job in rows:
        print(f"{job['id']:<6} {job['name']:<19} {job['state']:<8}")


def cobalt_qdel() -> None:
    trouble(submits=False)
    job = find(WORDS[-1])
    if job is None or job["state"] == "ended":
        fail(f"{WORDS[-1]}: Job not found", 1)
    keep(job | {"state": "ended"})
    print(f"      Deleted Jobs\nJobID  User\n============\n{job['id']}    me")


# Flux


def flux_flux() -> None:
    {"batch": flux_batch, "jobs": flux_jobs, "job": flux_job}[WORDS[0]]()


def flux_batch() -> None:
    submit("ƒ{}", "{}", name=after("--job-name"), output=after("--output"), script=WORDS[-1])


def flux_jobs() -> None:
    trouble(submits=False)
    ids, name = [word for word in WORDS if word.startswith(("ƒ", "f"))], after("--name")
    for job in jobs():
        if job["id"][1:] in [one[1:] for one in ids] or job["name"] == (name or None):
            state = {"queued": "SCHED", "running": "RUN", "ended": "COMPLETED"}.get(job["state"], job["state"])
            print(f"{job['id']}|{state}|{job['name']}")
    for one in ids:
        if find(one) is None:
            print(f"flux-jobs: ERROR: JobID {one} unknown", file=sys.stderr)


def flux_job() -> None:
    trouble(submits=False)
    job = find(WORDS[-1])
    if job is None:
        fail(f"flux-job: {WORDS[-1]}: unknown job id", 1)
    if job["state"] == "ended":
        fail(f"flux-job: {WORDS[-1]}: job is inactive", 1)
    keep(job | {"state": "ended"})


if __name__ == "__main__":
    with open(HERE / "calls", "a") as file:
        file.write(" ".join([PROGRAM, *WORDS]).replace("\n", " ") + "\n")
    globals()[f"{KIND}_{PROGRAM.replace('cqstat', 'qstat')}"]()
