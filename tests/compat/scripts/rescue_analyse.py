"""The last step of the trajectory."""

import balsam.launcher.dag as dag

with open("trajectory.txt") as trajectory:
    dag.current_job.data["steps"] = [int(line) for line in trajectory]
dag.current_job.save()
