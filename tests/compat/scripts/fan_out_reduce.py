"""The sum over all parts."""

import balsam.launcher.dag as dag

parts = dag.parents.filter(application="part")
dag.current_job.data["sum"] = sum(part.data["value"] for part in parts)
dag.current_job.data["parts"] = parts.count()
dag.current_job.save()
