"""Parents with two children each, in all combinations of jobs that end well, time out, or fail at first."""

import itertools
import os
import sys

import balsam.launcher.dag as dag
from balsam.core.models import BalsamJob

here = os.path.dirname(os.path.abspath(__file__))
dag.add_app(
    "handled",
    f"sh {here}/handled.sh",
    postprocess=f"sh {here}/handled_post.sh {sys.executable} {here}/handled_post.py",
)


def new_job(workflow, name, kind, x):
    job = BalsamJob(
        name=name,
        workflow=workflow,
        application="handled",
        args=f"{kind} {x} sum.{name}",
        node_packing_count=50,
        wall_time_minutes=0,
        post_error_handler=True,
        post_timeout_handler=True,
    )
    job.data.update(kind=kind, x=x, accept=x % 2 == 1, handled=0)
    return job


jobs, numbers = [], itertools.count()
for kinds in itertools.product(["normal", "timeout", "error"], repeat=3):
    workflow = "-".join(kinds)
    names = ["parent", "first", "second"]
    parent, first, second = (new_job(workflow, names[i], kinds[i], next(numbers)) for i in range(3))
    for child in (first, second):
        child.input_files = "sum.parent"
        child.set_parents([parent])
    jobs += [parent, first, second]
BalsamJob.objects.bulk_create(jobs)
