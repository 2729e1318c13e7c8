"""The tables. What is here must be what the migrations make; a test compares them.

A job is two rows: `job` is narrow and changes with every move; `job_detail` holds what only a run or a reader needs.
Keys are whole numbers that rise with creation; the UUID is for the outside. User 1 is the owner of the site, who has no
row.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from balsam.states import END, RUNNABLE, TRANSITIONABLE, State

Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Uuid = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
Json = sa.Text().with_variant(postgresql.JSONB(), "postgresql")

metadata = sa.MetaData()

_RUNNABLE = f"state IN ({', '.join(str(int(s)) for s in sorted(RUNNABLE))}) AND session IS NULL"
_UNBOUND = f"{_RUNNABLE} AND launch IS NULL"
_BOUND = f"{_RUNNABLE} AND launch IS NOT NULL"
_START_ORDER = (sa.text("priority DESC"), sa.text("num_nodes DESC"), sa.text("wall_time_minutes DESC"), "key")
_MOVING_STATES = sorted(TRANSITIONABLE - {State.AWAITING_PARENTS})
_MOVING = f"state IN ({', '.join(str(int(s)) for s in _MOVING_STATES)})"
STATE_COUNTS = {int(state): f"jobs_{state.name.lower()}" for state in State}
"""State -> the column of `counter` that counts its jobs."""
_ENDED = f"({', '.join(str(int(s)) for s in sorted(END))})"

job = sa.Table(
    "job",
    metadata,
    sa.Column("key", Key, primary_key=True, autoincrement=False),
    sa.Column("job_id", Uuid, nullable=False, unique=True),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("needs", sa.Integer, nullable=False),
    sa.Column("unmet", sa.Integer, nullable=False),
    sa.Column("failed_parent", Key),
    sa.Column("session", Key),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("restarts", sa.Integer, nullable=False),
    sa.Column("max_restarts", sa.Integer, nullable=False),
    sa.Column("lost", sa.SmallInteger, nullable=False),
    sa.Column("exit_code", sa.Integer),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("num_nodes", sa.Integer, nullable=False),
    sa.Column("ranks_per_node", sa.Integer, nullable=False),
    sa.Column("node_packing_count", sa.Integer, nullable=False),
    sa.Column("wall_time_minutes", sa.Integer, nullable=False),
    sa.Column("application", Key),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("workflow", sa.Text, nullable=False),
    sa.Column("launch", Key),
    sa.Column("timeouts", sa.Integer, nullable=False, server_default="0"),
    # The user whose job it is; `job_detail.owner` has the name.
    sa.Column("owner_key", sa.Integer, nullable=False, server_default="1"),
    sa.Index("job_workflow", "workflow", "key"),
    sa.Index("job_name", "name", "key"),
    # A launcher reads the jobs that are bound to no launch, or to its own, of each user for whom it works, each in the
    # order in which they start.
    sa.Index(
        "job_runnable", "owner_key", *_START_ORDER, sqlite_where=sa.text(_UNBOUND), postgresql_where=sa.text(_UNBOUND)
    ),
    sa.Index(
        "job_bound",
        "launch",
        "owner_key",
        *_START_ORDER,
        sqlite_where=sa.text(_BOUND),
        postgresql_where=sa.text(_BOUND),
    ),
    sa.Index(
        "job_launch",
        "launch",
        sqlite_where=sa.text("launch IS NOT NULL"),
        postgresql_where=sa.text("launch IS NOT NULL"),
    ),
    sa.Index("job_moving", "state", "key", sqlite_where=sa.text(_MOVING), postgresql_where=sa.text(_MOVING)),
    sa.Index(
        "job_leased",
        "session",
        sqlite_where=sa.text("session IS NOT NULL"),
        postgresql_where=sa.text("session IS NOT NULL"),
    ),
    sa.Index(
        "job_failed_parent",
        "failed_parent",
        sqlite_where=sa.text("failed_parent IS NOT NULL"),
        postgresql_where=sa.text("failed_parent IS NOT NULL"),
    ),
)

job_detail = sa.Table(
    "job_detail",
    metadata,
    sa.Column("key", Key, primary_key=True, autoincrement=False),
    sa.Column("create_us", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("workdir", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False, server_default=""),
    sa.Column("args", sa.Text, nullable=False, server_default=""),
    sa.Column("environ_vars", sa.Text, nullable=False, server_default=""),
    sa.Column("data", Json, nullable=False, server_default="{}"),
    sa.Column("wait_for_parents", sa.SmallInteger, nullable=False, server_default="1"),
    sa.Column("input_files", sa.Text, nullable=False, server_default=""),
    sa.Column("stage_in_url", sa.Text, nullable=False, server_default=""),
    sa.Column("stage_out_url", sa.Text, nullable=False, server_default=""),
    sa.Column("stage_out_files", sa.Text, nullable=False, server_default=""),
    sa.Column("user_workdir", sa.Text, nullable=False, server_default=""),
    sa.Column("coschedule_num_nodes", sa.Integer, nullable=False, server_default="0"),
    sa.Column("threads_per_rank", sa.Integer, nullable=False, server_default="1"),
    sa.Column("threads_per_core", sa.Integer, nullable=False, server_default="1"),
    sa.Column("cpu_affinity", sa.SmallInteger, nullable=False, server_default="1"),
    sa.Column("mpi_flags", sa.Text, nullable=False, server_default=""),
    sa.Column("gpus_per_rank", sa.Double, nullable=False, server_default="0"),
    sa.Column("post_error_handler", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("post_timeout_handler", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("auto_timeout_retry", sa.SmallInteger, nullable=False, server_default="1"),
)

edge = sa.Table(
    "edge",
    metadata,
    sa.Column("child", Key, primary_key=True, autoincrement=False),
    sa.Column("parent", Key, primary_key=True, autoincrement=False),
    sa.Column("met", sa.SmallInteger, nullable=False),
    sa.Index("edge_parent", "parent", "child"),
    sqlite_with_rowid=False,
)

event = sa.Table(
    "event",
    metadata,
    sa.Column("sequence", Key, primary_key=True, autoincrement=False),
    sa.Column("job", Key, nullable=False),
    # States entered at one instant, in order, as letters: chr(64 + state).
    sa.Column("states", sa.Text, nullable=False),
    sa.Column("time_us", sa.BigInteger, nullable=False),
    sa.Column("record_us", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.SmallInteger, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("exit_code", sa.Integer),
    sa.Column("message", sa.Text, nullable=False),
    # Only where the job itself is gone.
    sa.Column("deleted_id", Uuid),
    # Who did it, or whose launcher or run; null: the owner of the site, or a service.
    sa.Column("user_key", sa.Integer),
    # The job whose run did it, where that is another one.
    sa.Column("run_key", Key),
    # Where a run failed, was cut off or lost: a row of `node`. Of runs that went well nobody asks, and they are many.
    sa.Column("node", sa.Integer),
    sa.Index("event_job", "job", "sequence"),
    sa.Index(
        "event_node",
        "job",
        "sequence",
        sqlite_where=sa.text("node IS NOT NULL"),
        postgresql_where=sa.text("node IS NOT NULL"),
    ),
    sa.Index(
        "event_deleted",
        "deleted_id",
        "sequence",
        sqlite_where=sa.text("deleted_id IS NOT NULL"),
        postgresql_where=sa.text("deleted_id IS NOT NULL"),
    ),
)

node = sa.Table(
    "node",
    metadata,
    # Names of nodes, each once: a name takes more room than all else that an event holds.
    sa.Column("key", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
)

application = sa.Table(
    "application",
    metadata,
    sa.Column("key", Key, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("executable", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("preprocess", sa.Text, nullable=False),
    sa.Column("postprocess", sa.Text, nullable=False),
    sa.Column("envscript", sa.Text, nullable=False),
    sa.Column("python", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("create_us", sa.BigInteger, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sqlite_autoincrement=True,
)

launch = sa.Table(
    "launch",
    metadata,
    # Never used again: no job must come to be bound to a launch that nobody meant.
    sa.Column("key", Key, primary_key=True),
    sa.Column("request_id", Uuid, nullable=False, unique=True),
    sa.Column("scheduler_id", sa.Text, nullable=False),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("queue", sa.Text, nullable=False),
    sa.Column("nodes", sa.Integer, nullable=False),
    sa.Column("wall_minutes", sa.Integer, nullable=False),
    sa.Column("job_mode", sa.Text, nullable=False),
    sa.Column("wf_filter", sa.Text, nullable=False),
    sa.Column("sched_flags", sa.Text, nullable=False),
    sa.Column("command", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("prescheduled_only", sa.SmallInteger, nullable=False),
    sa.Column("from_balsam", sa.SmallInteger, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("create_us", sa.BigInteger, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("message", sa.Text, nullable=False, server_default=""),
    sa.Column("batch_system", sa.Text, nullable=False, server_default=""),
    sqlite_autoincrement=True,
)

session = sa.Table(
    "session",
    metadata,
    # Never used again: a lease must not pass to a new session with an old number.
    sa.Column("key", Key, primary_key=True),
    sa.Column("session_id", Uuid, nullable=False, unique=True),
    sa.Column("request_id", Uuid, nullable=False, unique=True),
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("create_us", sa.BigInteger, nullable=False),
    sa.Column("nodes", sa.Integer, nullable=False),
    sa.Column("job_mode", sa.Text, nullable=False),
    sa.Column("workflow_filter", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("launch", Key),
    # The job store that has it, by its number: only that one may end it.
    sa.Column("store", sa.SmallInteger, nullable=False, server_default="1"),
    # Rules of a scheduler's session that are in force in every job store, as JSON; empty where there is one only.
    sa.Column("rules", sa.Text, nullable=False, server_default=""),
    sa.Column("owner_key", sa.Integer, nullable=False, server_default="1"),
    # Keys of the users whose jobs it runs beside those of its own, separated by commas.
    sa.Column("trusted", sa.Text, nullable=False, server_default=""),
    sqlite_autoincrement=True,
)

ended_session = sa.Table(
    "ended_session",
    metadata,
    # Launchers' sessions that are over, the newest: how many nodes there were, and when.
    sa.Column("key", Key, primary_key=True, autoincrement=False),
    sa.Column("session_id", Uuid, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("owner_key", sa.Integer, nullable=False),
    sa.Column("create_us", sa.BigInteger, nullable=False),
    sa.Column("end_us", sa.BigInteger, nullable=False),
    sa.Column("nodes", sa.Integer, nullable=False),
    sa.Column("job_mode", sa.Text, nullable=False),
    sa.Column("workflow_filter", sa.Text, nullable=False),
    sa.Column("launch", Key),
    sa.Index("ended_session_end", "end_us"),
)

site_user = sa.Table(
    "site_user",
    metadata,
    # From 2; kept when the user is dropped, as what they have done bears it.
    sa.Column("key", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("role", sa.SmallInteger, nullable=False),
    # SHA-256: the token itself is nowhere.
    sa.Column("token_digest", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("create_us", sa.BigInteger, nullable=False),
    sa.Column("token_us", sa.BigInteger, nullable=False),
    sa.Column("expire_us", sa.BigInteger),
    sa.Column("drop_us", sa.BigInteger),
)

audit = sa.Table(
    "audit",
    metadata,
    # What users change that has no events: fields of jobs, dependencies, applications, launches, users.
    sa.Column("key", Key, primary_key=True),
    sa.Column("time_us", sa.BigInteger, nullable=False),
    sa.Column("user_key", sa.Integer, nullable=False),
    # The job whose run did it.
    sa.Column("run_id", Uuid),
    sa.Column("action", sa.Text, nullable=False),
    # The first names or ids, separated by blanks.
    sa.Column("objects", sa.Text, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)

request = sa.Table(
    "request",
    metadata,
    # Rises, so that the oldest can be dropped.
    sa.Column("key", Key, primary_key=True),
    sa.Column("request_id", Uuid, nullable=False),
    # A request that takes several transactions has an answer for each.
    sa.Column("part", sa.Integer, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("caller", sa.Text, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=False),
    # Where the next part goes on; null: this is the last.
    sa.Column("next", sa.BigInteger),
    sa.UniqueConstraint("request_id", "part"),
)

counter = sa.Table(
    "counter",
    metadata,
    # One row. Locked by every transaction with events, until it commits: sequences rise in commit order.
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("job_key", sa.BigInteger, nullable=False),
    sa.Column("event_sequence", sa.BigInteger, nullable=False),
    # How many jobs are in each state: nobody has to read a million rows for that.
    *(sa.Column(name, sa.BigInteger, nullable=False, server_default="0") for name in STATE_COUNTS.values()),
)
