"""One part: its number times the weight in its data, which is one where nobody has set it."""

import sys

from balsam.launcher.dag import current_job

current_job.data["value"] = int(sys.argv[1]) * current_job.data.get("weight", 1)
current_job.save(update_fields=["data"])
