"""A workflow whose width is known only when its first job has run: generate -> part, part, ... -> reduce."""

import os

from balsam.launcher.dag import add_app, add_dependency, add_job

here = os.path.dirname(os.path.abspath(__file__))
add_app("generate", "seq 1", postprocess=f"{here}/fan_out_post.py")
add_app("part", f"{here}/fan_out_part.py")
add_app("reduce", f"{here}/fan_out_reduce.py")

generate = add_job(name="generate", workflow="fan", application="generate", args="5")
reduce = add_job(name="reduce", workflow="fan", application="reduce")
add_dependency(generate, reduce)
