-- What came with revision 0005: how many jobs are in each state.
UPDATE counter SET jobs_awaiting_parents = 1, jobs_preprocessed = 2, jobs_running = 1, jobs_job_finished = 1;
