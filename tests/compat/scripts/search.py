"""Finds the minimum of a function of two variables. Every point is a job; what to try next follows from what comes in.

A pattern search: the four neighbours of the best point are tried, and where none is better, nearer ones.
"""

import json
import os

from balsam.core.models import BalsamJob
from balsam.launcher.dag import add_app
from balsam.launcher.futures import FutureTask, wait

here = os.path.dirname(os.path.abspath(__file__))
add_app("objective", f"{here}/search_objective.py")


def on_done(job, point):
    return float(job.read_file_in_workdir(f"{job.name}.out")), point


def on_fail(job, point):
    return float("inf"), point


def evaluate(x, y):
    job = BalsamJob(
        name=f"point_{x}_{y}", workflow="search", application="objective", args=f"{x} {y}", node_packing_count=4
    )
    job.data.update(x=x, y=y)
    job.save()
    return FutureTask(job, on_done, on_fail, point=(x, y))


step = 1.0
tried = {(3.0, -2.0)}
best = float("inf"), (3.0, -2.0)
active = [evaluate(*best[1])]

while active:
    finished = wait(active, timeout=60, return_when="ANY_COMPLETED", poll_period=1.0)
    active = finished.active
    best = min([best] + [future.result() for future in finished.done + finished.failed])
    while not active and step > 1e-3:
        x, y = best[1]
        around = {(x + step, y), (x - step, y), (x, y + step), (x, y - step)}
        active = [evaluate(*point) for point in sorted(around - tried)]
        tried |= around
        if not active:
            step /= 2

print(json.dumps({"value": best[0], "point": best[1], "jobs": len(tried)}))
