"""The names that users import, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import balsam
from balsam import aio
from balsam.core import models
from balsam.launcher import dag, futures


def words(text: str) -> list[str]:
    """The words of a text, sorted."""
    return sorted(text.split())


HEAVY = words(
    "sqlalchemy alembic mpi4py click rich numpy asyncio grpc google.protobuf platformdirs psutil tempfile pathlib"
)


@pytest.mark.parametrize(
    "module",
    ["balsam", "balsam.launcher.dag", "balsam.launcher.futures", "balsam.core.models", "balsam.job", "balsam.reports"],
)
def test_importing_loads_nothing_heavy_and_contacts_nothing(module: str) -> None:
    """It happens in every script of every job, and in every MPI rank."""
    code = f"import sys, {module}; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.split() == []


UNUSED = words(
    """balsam.application balsam.filters balsam.history balsam.query balsam.queryset balsam.rows balsam.settings difflib
    hashlib platform random secrets shlex tempfile tomllib uuid"""
)
"""What one who makes a job and stores it has no use for; 20 ms in all."""


def test_a_script_that_makes_a_job_loads_no_more_than_that_takes() -> None:
    code = (
        "import sys, balsam.launcher.dag, balsam.client, balsam.rpc; balsam.launcher.dag.BalsamJob(name='a', args='b');"
        f"print(*[name for name in {UNUSED} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.split() == []


def test_the_names_of_balsam() -> None:
    assert sorted(balsam.__all__) == words(
        """ApplicationDefinition BalsamError BalsamJob Client Conflict Count FutureTask InvalidParentsError
        InvalidStateError MultipleObjectsReturned NoApplication NotAllowed NotFound Q QueuedLaunch SiteError TaskFailed
        Unavailable ValidationError WaitResult __version__ as_completed connect wait"""
    )
    for name in balsam.__all__:
        assert getattr(balsam, name) is not None
    assert balsam.BalsamJob is dag.BalsamJob is models.BalsamJob


def test_the_names_of_dag() -> None:
    assert sorted(dag.__all__) == words(
        """ERROR JOB_ID LAUNCHER_NODES TIMEOUT ApplicationDefinition BalsamJob add_app add_dependency add_job children
        clone current_job detect_circular get_active_database get_apps get_database_paths kill parents spawn_child
        submit wf_from_template"""
    )
    assert all(hasattr(dag, name) for name in set(dag.__all__) - {"current_job", "parents", "children"})


def test_the_names_of_futures() -> None:
    assert sorted(futures.__all__) == ["FutureTask", "TaskFailed", "WaitResult", "as_completed", "wait"]


def test_the_names_of_aio() -> None:
    assert sorted(aio.__all__) == words("as_completed call ended fetch iterate result save wait")
    assert balsam.aio is aio
    assert "aio" in dir(balsam)


def test_aio_is_found_when_it_is_used_and_costs_asyncio_only() -> None:
    code = f"import sys, balsam; balsam.aio; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.split() == ["asyncio"]


def test_the_names_of_models() -> None:
    assert sorted(models.__all__) == words(
        """ACTIVE_STATES END_STATES PROCESSABLE_STATES RUNNABLE_STATES STATES TIME_FMT ApplicationDefinition BalsamJob
        Count InvalidParentsError InvalidStateError NoApplication Q QueuedLaunch ValidationError error_report
        process_job_times throughput_report utilization_report"""
    )
    assert all(hasattr(models, name) for name in models.__all__)
    assert {*models.__all__} <= {*dir(models)}


def test_the_groups_of_states_are_the_whole() -> None:
    groups = [models.ACTIVE_STATES, models.PROCESSABLE_STATES, models.RUNNABLE_STATES, models.END_STATES]
    joined = [state for group in groups for state in group]
    assert sorted(joined) == sorted(models.STATES)
    assert len(joined) == 14


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'BalsamJobs'"):
        balsam.BalsamJobs  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'currentjob'"):
        dag.currentjob  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'report'"):
        models.report  # noqa: B018
    assert "BalsamJob" in dir(balsam)
