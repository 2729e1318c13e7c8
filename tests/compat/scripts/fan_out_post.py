"""After `generate`: a job for every line of its output, and `reduce` waits for all of them."""

import balsam.launcher.dag as dag

reduce = dag.children.get(name="reduce")
numbers = dag.current_job.read_file_in_workdir("generate.out").split()

for number in numbers[:-1]:
    child = dag.spawn_child(
        clone=True, name=f"part{number}", application="part", args=number, node_packing_count=2, data={"weight": 10}
    )
    dag.add_dependency(child, reduce)

last = dag.add_job(name=f"part{numbers[-1]}", workflow=dag.current_job.workflow, application="part", args=numbers[-1])
dag.add_dependency(dag.current_job, last)
dag.add_dependency(parent=last, child=reduce)
