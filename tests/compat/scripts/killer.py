"""`python killer.py tree|one`: a run that takes far too long, what waits for it, and a job that watches over it.

The watching job runs this same file, and kills the run, or the run and all that wait for it.
"""

import os
import sys
import time

import balsam.launcher.dag as dag
from balsam.launcher.dag import BalsamJob


def submit(what):
    dag.add_app("killer", f"{os.path.abspath(__file__)} watch")
    slow = dag.add_job(
        name="slow", workflow="k", application="", args="sh -c 'echo $$ > pid; sleep 600 & wait'", node_packing_count=2
    )
    below = dag.add_job(name="below", workflow="k", application="", args="true", node_packing_count=2)
    dag.add_dependency(slow, below)
    dag.add_job(name="killer", workflow="k", application="killer", args=what, node_packing_count=2)


def watch(what):
    slow = BalsamJob.objects.get(name="slow", workflow=dag.current_job.workflow)
    while slow.state != "RUNNING" or not os.path.exists(os.path.join(slow.working_directory, "pid")):
        time.sleep(0.05)
        slow.refresh_from_db()
    dag.kill(slow, recursive=what == "tree")


if __name__ == "__main__":
    if sys.argv[1] == "watch":
        watch(sys.argv[2])
    else:
        submit(sys.argv[1])
