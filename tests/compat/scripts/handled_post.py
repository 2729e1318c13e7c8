"""Handles a run that did not end well: it is accepted as it is, or restarted."""

import os

import balsam.launcher.dag as dag

job = dag.current_job
expected = {"timeout": dag.TIMEOUT, "error": dag.ERROR}.get(job.data["kind"], False)

if expected:
    open("handled", "w").close()
    job.data["handled"] += 1
    job.save()

if expected and job.data["accept"]:
    base = 0
    if os.path.exists("sum.parent"):
        with open("sum.parent") as result:
            base = int(result.read())
    with open(f"sum.{job.name}", "w") as result:
        result.write(str(base + job.data["x"]))
    job.update_state("JOB_FINISHED", "accepted")
else:
    job.update_state("RESTART_READY", "timeout" if dag.TIMEOUT else "error")
