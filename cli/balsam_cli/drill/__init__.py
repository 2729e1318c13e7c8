"""`balsam doctor --drill`: kills a launcher and the job store in the middle of work, and counts what became of it."""
