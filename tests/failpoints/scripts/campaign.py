"""A small campaign, as its owner starts it: what exists is left alone. Words: the witness, seconds of `long`."""

from __future__ import annotations

import sys

from balsam.launcher.dag import ApplicationDefinition, BalsamJob, add_app

witness, long = sys.argv[1], float(sys.argv[2])


def job(name: str, seconds: float, **fields: object) -> BalsamJob:
    fields = {"application": "witness", "args": f"{name} {seconds}", "node_packing_count": 4} | fields
    return BalsamJob(name=name, workflow="failpoints", **fields)


if not ApplicationDefinition.objects.filter(name="witness"):
    add_app("witness", witness)
if not ApplicationDefinition.objects.filter(name="scripted"):
    add_app("scripted", witness, preprocess=f"{witness} before 0.1", postprocess=f"{witness} after 0.1")
if not BalsamJob.objects.exists():
    parent = job("parent", 0.1, application="scripted")
    child = job("child", 0.1, parents=[parent])
    others = [job("long", long, priority=1), *(job(f"short{number}", 0.02) for number in range(4))]
    BalsamJob.objects.bulk_create([parent, child, *others])
