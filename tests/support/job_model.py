"""What the job model says, in plain dictionaries: what the real job store is held against.

It knows jobs without scripts and staging, moved by users, by a launcher, and by what follows from either. Where the job
store keeps counters and touches only what changed, the model looks at everything again, until nothing follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Job = dict[str, Any]

ORDER = ("CREATED", "AWAITING_PARENTS", "READY", "STAGED_IN", "PREPROCESSED")
WAITING = frozenset(ORDER)
END = frozenset({"JOB_FINISHED", "FAILED", "USER_KILLED"})
RUNNABLE = frozenset({"PREPROCESSED", "RESTART_READY"})
DEFAULTS: Job = {
    "workflow": "",
    "priority": 0,
    "num_nodes": 1,
    "data": {},
    "wait_for_parents": True,
    "auto_timeout_retry": True,
    "max_restarts": 3,
    "launch": None,
}
RECALLED, TAKEN_OVER = "recalled", "taken over"
"""What may have become of a lease while it is held: it was given under old values; somebody else has moved the job."""


class Refused(Exception):
    """The job store refuses this, and leaves all as it was."""


class JobModel:
    """All jobs, in order of creation, and the launches that there are."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.launches: dict[int, bool] = {}
        """Launch -> whether it may still run jobs."""

    # Reading

    def due(self) -> str | None:
        """The job that a launcher is given next."""
        found = [job for job in self.jobs.values() if self._is_due(job)]
        order = list(self.jobs)
        found.sort(key=lambda job: (-job["priority"], -job["num_nodes"], order.index(job["id"])))
        return found[0]["id"] if found else None

    def _is_due(self, job: Job) -> bool:
        ready = not job["wait_for_parents"] or all(job["parents"].values())
        return job["state"] in RUNNABLE and not job["held"] and job["launch"] is None and ready

    def children(self, parent: str) -> list[Job]:
        """The jobs that depend on one."""
        return [job for job in self.jobs.values() if parent in job["parents"]]

    def descendants(self, job_id: str) -> set[str]:
        """A job, and all below it."""
        found: set[str] = set()
        ahead = [job_id]
        while ahead:
            one = ahead.pop()
            if one not in found:
                found.add(one)
                ahead += [child["id"] for child in self.children(one)]
        return found

    # What users do

    def create(self, new: Sequence[Job]) -> None:
        """Adds jobs, all or none."""
        known = {*self.jobs}
        for job in new:
            if not known.issuperset(job.get("parents", ())):
                raise Refused("a parent does not exist")
            known.add(job["id"])
        for job in new:
            parents = dict.fromkeys(job.get("parents", ()), False)
            own = {"state": "CREATED", "history": ["CREATED"], "parents": parents}
            lease = {"held": False, "fate": None, "lost": False, "fence": 0}
            self.jobs[job["id"]] = DEFAULTS | job | own | lease | {"by_parent": False, "restarts": 0, "attempt": 0}
            self._look_at_parents(self.jobs[job["id"]])
            self._settle()

    def set_state(self, ids: Iterable[str], state: str) -> int:
        """Moves jobs, each by itself; gives how many were refused."""
        refused = 0
        for job_id in ids:
            try:
                self._set_state(self.jobs[job_id], state)
            except Refused:
                refused += 1
        self._settle()
        return refused

    def _set_state(self, job: Job, state: str) -> None:
        if job["state"] == state:
            return
        if state == "RESTART_READY" and job["wait_for_parents"] and not all(job["parents"].values()):
            raise Refused("its parents have not finished")
        if job["state"] == "USER_KILLED" or state == "RUNNING" or (state == "USER_KILLED" and job["state"] in END):
            raise Refused("the graph")
        self._move(job, state)
        self._stop_work(job)

    def change(self, ids: Iterable[str], fields: Job) -> int:
        """Sets fields of jobs, each by itself; gives how many were refused."""
        refused = 0
        for job_id in ids:
            job = self.jobs[job_id]
            if "num_nodes" in fields and job["state"] == "RUNNING":
                refused += 1
            else:
                job |= fields
                if "num_nodes" in fields and job["state"] in RUNNABLE:
                    self._stop_work(job)
        self._settle()
        return refused

    def bind(self, job_id: str, launch: int | None) -> None:
        """Binds a job to a launch, or to none."""
        job = self.jobs[job_id]
        if launch is not None and launch not in self.launches:
            raise Refused("there is no such launch")
        before = job["launch"]
        job["launch"] = launch if launch is None or self.launches[launch] else None
        if job["launch"] != before and job["state"] in RUNNABLE:
            self._stop_work(job)
        self._settle()

    def end_launch(self, launch: int, *, delete: bool) -> None:
        """A launch is over, or deleted: its jobs are bound to none."""
        for job in self.jobs.values():
            if job["launch"] == launch:
                job["launch"] = None
        self.launches[launch] = False
        if delete:
            del self.launches[launch]

    def set_parents(self, job_id: str, parents: Sequence[str]) -> None:
        """Replaces the parents of a job."""
        job = self.jobs[job_id]
        new = [parent for parent in parents if parent not in job["parents"]]
        gone = [parent for parent in job["parents"] if parent not in parents]
        if new and (job["state"] not in WAITING or not self.descendants(job_id).isdisjoint(new)):
            raise Refused("too late, or a cycle")
        job["parents"] = {parent: met for parent, met in job["parents"].items() if parent not in gone}
        job["parents"] |= {parent: self._is_met(parent) for parent in new}
        if job["wait_for_parents"] and not all(job["parents"][parent] for parent in new):
            self._stop_work(job)
        if job["state"] in WAITING or (gone and job["by_parent"]):
            self._look_at_parents(job)
        self._settle()

    def kill(self, job_id: str, *, recursive: bool) -> int:
        """Kills a job, and all below it; gives how many."""
        chosen = self.descendants(job_id) if recursive else {job_id}
        killed = [self.jobs[one] for one in self.jobs if one in chosen and self.jobs[one]["state"] not in END]
        for job in killed:
            self._move(job, "USER_KILLED")
            self._stop_work(job)
        self._settle()
        return len(killed)

    def delete(self, ids: Sequence[str], *, kill: bool) -> int:
        """Deletes jobs; gives how many were refused since they are at work."""
        gone = [one for one in ids if kill or not self.jobs[one]["held"]]
        for parent in gone:
            for child in self.children(parent):
                waits = child["state"] in WAITING and child["wait_for_parents"] and not child["parents"][parent]
                if waits and child["id"] not in gone:
                    self._move(child, "FAILED")
        for one in gone:
            del self.jobs[one]
        for job in self.jobs.values():
            if not job["parents"].keys().isdisjoint(gone):
                job["parents"] = {parent: met for parent, met in job["parents"].items() if parent not in gone}
                if job["by_parent"]:
                    self._look_at_parents(job)
        self._settle()
        return len(ids) - len(gone)

    # What launchers do

    def take(self, job_id: str) -> None:
        """It is leased to a launcher."""
        job = self.jobs[job_id]
        job |= {"held": True, "fate": None, "lost": False, "attempt": job["attempt"] + 1, "fence": job["fence"] + 1}

    def begin(self, job_id: str) -> None:
        """Its run has begun."""
        job = self.jobs[job_id]
        if job["fate"] is None:
            self._enter(job, "RUNNING")

    def end(self, job_id: str, state: str) -> None:
        """Its run has ended, and the lease with it; what somebody else has set meanwhile stands."""
        job = self.jobs[job_id]
        if job["fate"] is None:
            self._enter(job, state)
        self._release(job)

    def give_back(self, job_id: str) -> None:
        """The launcher ends the lease without a result: of a run that it stopped, or never began."""
        job = self.jobs[job_id]
        if job["state"] == "RUNNING":
            self._lose_run(job)
        elif job["fate"] != TAKEN_OVER and job["state"] in RUNNABLE:
            job["attempt"] -= 1
        self._release(job)

    def lose(self) -> None:
        """The launcher is lost, and all its runs."""
        for job in self.jobs.values():
            if job["held"]:
                job["lost"] = job["lost"] or job["fate"] is None
                if job["state"] == "RUNNING":
                    self._lose_run(job)
                job["held"] = False
        self._settle()

    def end_late(self, job_id: str, fence: int, state: str) -> bool:
        """A result comes after its launcher was lost; whether it counts."""
        job = self.jobs.get(job_id)
        if job is None or job["held"] or not job["lost"] or job["fence"] != fence or job["state"] not in RUNNABLE:
            return False
        self._enter(job, "RUNNING")
        self._enter(job, state)
        job["lost"] = False
        self._settle()
        return True

    def _lose_run(self, job: Job) -> None:
        job |= {"lost": True, "restarts": job["restarts"] + 1}
        self._enter(job, "RUN_TIMEOUT")

    def _release(self, job: Job) -> None:
        job["held"] = False
        self._settle()

    def _stop_work(self, job: Job) -> None:
        if not job["held"]:
            job["lost"] = False
        elif job["fate"] is None:
            job["fate"] = RECALLED

    # What follows

    def _enter(self, job: Job, state: str) -> None:
        job["state"] = state
        job["history"].append(state)

    def _move(self, job: Job, state: str) -> None:
        source = job["state"]
        self._enter(job, state)
        job["fate"] = TAKEN_OVER
        if source in END and state not in END:
            job |= {"restarts": 0, "lost": False}
        if source not in WAITING and state in WAITING:
            self._look_at_parents(job)
        elif source == "FAILED":
            job["by_parent"] = False
        if source == "JOB_FINISHED":
            for child in self.children(job["id"]):
                if child["state"] in WAITING and child["parents"][job["id"]]:
                    child["parents"][job["id"]] = False
                    if child["wait_for_parents"]:
                        self._stop_work(child)
        if source == "FAILED":
            self._revive(job)

    def _revive(self, job: Job) -> None:
        for child in self.children(job["id"]):
            if child["by_parent"]:
                self._look_at_parents(child)
                if child["state"] == "FAILED" and not child["by_parent"]:
                    self._enter(child, "AWAITING_PARENTS")
                    self._revive(child)

    def _look_at_parents(self, job: Job) -> None:
        job["parents"] = {parent: self._is_met(parent) for parent in job["parents"]}
        job["by_parent"] = job["wait_for_parents"] and any(self._has_failed(parent) for parent in job["parents"])

    def _is_met(self, job_id: str) -> bool:
        return self.jobs[job_id]["state"] == "JOB_FINISHED" and not self.jobs[job_id]["held"]

    def _has_failed(self, job_id: str) -> bool:
        job = self.jobs[job_id]
        return job["state"] == "USER_KILLED" or (job["state"] == "FAILED" and not job["held"])

    def _settle(self) -> None:
        follows = True
        while follows:
            moved = sum(self._go_on(job) for job in self.jobs.values() if not job["held"])
            told = sum(self._tell_children(job) for job in self.jobs.values())
            follows = moved + told > 0

    def _go_on(self, job: Job) -> bool:
        path = self._path(job)
        for state in path:
            self._enter(job, state)
        return bool(path)

    def _tell_children(self, job: Job) -> bool:
        told = False
        for child in self.children(job["id"]):
            if self._is_met(job["id"]) and not child["parents"][job["id"]]:
                child["parents"][job["id"]] = told = True
            waits = child["state"] in WAITING and child["wait_for_parents"] and not child["by_parent"]
            if self._has_failed(job["id"]) and waits:
                child["by_parent"] = told = True
        return told

    def _path(self, job: Job) -> Sequence[str]:
        state, waits = job["state"], job["wait_for_parents"]
        if state in WAITING:
            if job["by_parent"]:
                return ["FAILED"]
            if waits and not all(job["parents"].values()):
                return ["AWAITING_PARENTS"] if state != "AWAITING_PARENTS" else []
            return ORDER[max(ORDER.index(state), 1) + 1 :]
        if state == "RUN_TIMEOUT" and job["lost"]:
            return ["RESTART_READY" if job["restarts"] <= job["max_restarts"] else "FAILED"]
        if state == "RUN_TIMEOUT":
            return ["RESTART_READY" if job["auto_timeout_retry"] else "FAILED"]
        return {
            "RUN_DONE": ["POSTPROCESSED", "JOB_FINISHED"],
            "POSTPROCESSED": ["JOB_FINISHED"],
            "RUN_ERROR": ["FAILED"],
        }.get(state, [])
