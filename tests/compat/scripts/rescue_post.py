"""After the simulation. A time-out: a rescue job goes on from the checkpoint, and who waited for us waits for it."""

import os
import sys

import balsam.launcher.dag as dag

job = dag.current_job

if dag.TIMEOUT and sys.argv[1] == "spawn":
    rescue = dag.spawn_child(
        clone=True,
        name="rescue",
        input_files="checkpoint.txt",
        args=job.args + " --restart checkpoint.txt",
        post_timeout_handler=False,
    )
    for child in dag.children.exclude(pk=rescue.pk):
        child.set_parents([rescue])
    job.update_state("JOB_FINISHED", "handed over to the rescue job")

elif dag.TIMEOUT:
    checkpoint = os.path.abspath("checkpoint.txt")
    rescue = dag.clone(job, name="rescue", args=f"{job.args} --restart {checkpoint}", post_timeout_handler=False)
    rescue.save()
    for child in dag.children:
        child.set_parents([rescue])
    job.update_state("FAILED", "given up; the rescue job goes on")
