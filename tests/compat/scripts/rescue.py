"""`python rescue.py HOW`: a simulation that outlasts every allocation, and an analysis that waits for it.

HOW tells its handler which of two ways to go on: `spawn` or `clone`.
"""

import os
import sys

from balsam.core.models import ApplicationDefinition as App
from balsam.core.models import BalsamJob

here = os.path.dirname(os.path.abspath(__file__))
App(name="simulate", executable=f"{here}/rescue_simulate.py", postprocess=f"{here}/rescue_post.py {sys.argv[1]}").save()
App(name="analyse", executable=f"{here}/rescue_analyse.py").save()

simulation = BalsamJob(
    name="simulation",
    workflow="long",
    application="simulate",
    args="--steps 1000",
    wall_time_minutes=0,
    post_timeout_handler=True,
)
simulation.save()
for number in range(2):
    analysis = BalsamJob(
        name=f"analysis{number}",
        workflow="long",
        application="analyse",
        input_files="trajectory.txt",
        wall_time_minutes=0,
    )
    analysis.save()
    analysis.set_parents([simulation])
