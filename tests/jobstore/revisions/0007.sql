-- What came with revision 0007: jobs that need GPUs, or cores of their own, say so in their row.
UPDATE job SET needs = needs | 2048 WHERE key IN (SELECT key FROM job_detail WHERE gpus_per_rank > 0);
UPDATE job SET needs = needs | 4096 WHERE key IN (SELECT key FROM job_detail WHERE cpu_affinity = 2);
