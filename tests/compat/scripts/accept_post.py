"""The program exits with 1 whatever happens: what counts is what it has written."""

import balsam.launcher.dag as dag

if dag.ERROR:
    with open(f"{dag.current_job.name}.out") as output:
        if "CONVERGED" in output.read():
            dag.current_job.update_state("JOB_FINISHED", "it had converged")
        else:
            dag.current_job.update_state("FAILED", "no convergence")
