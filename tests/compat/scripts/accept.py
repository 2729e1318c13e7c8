"""Two runs that exit with 1: one had converged before, the other had not. Who depends on them?"""

import os

from balsam.launcher.dag import BalsamJob, add_app, add_dependency

here = os.path.dirname(os.path.abspath(__file__))
add_app("solve", "sh -c", postprocess=f"{here}/accept_post.py")

for name, output in [("good", "residual 1e-9: CONVERGED"), ("bad", "residual 3.5")]:
    job = BalsamJob(name=name, workflow="solve", application="solve", post_error_handler=True)
    job.args = f"'echo {output}; exit 1'"
    job.save()
    after = BalsamJob(name=f"after-{name}", workflow="solve", args="true")
    after.save()
    add_dependency(job, after)
