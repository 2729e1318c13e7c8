"""Squares numbers: `python square.py 16` adds sixteen jobs, and every job runs this same file without an argument."""

import os
import sys

import balsam.launcher.dag as dag
from balsam.core.models import ApplicationDefinition, BalsamJob


def submit(count):
    ApplicationDefinition.objects.get_or_create(
        name="square", executable=os.path.abspath(__file__), description="squares a number"
    )
    for i in range(count):
        job = BalsamJob(name=f"square{i}", workflow="squares", application="square", node_packing_count=2)
        job.data = {"x": i}
        job.save()


def run():
    data = dag.current_job.data
    data["square"] = data["x"] ** 2
    dag.current_job.save()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        submit(int(sys.argv[1]))
    else:
        run()
