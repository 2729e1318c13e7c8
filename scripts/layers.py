"""The layers of each package: a module imports what is in its own layer and in those below, never above.

``scripts/check_imports.py`` holds the code to it, and ``docs/architecture.md`` shows it (``scripts/docs/packages.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

SQL = frozenset({"sqlalchemy", "alembic", "psycopg2", "sqlite3"})
"""Libraries with which a module speaks to a database."""
MESSAGES = frozenset({"balsam.v1", "grpc", "google"})
"""Protobuf messages and what carries them."""
DOING = frozenset(
    {"asyncio", "multiprocessing", "os", "select", "selectors", "shutil", "signal", "socket"}
) | frozenset({"subprocess", "tempfile", "threading"})
"""Files, processes, sockets, threads: what a function without I/O does not need."""


@dataclass(frozen=True)
class Layer:
    """A layer of a package.

    Attributes:
        name: what the layer is called, a word.
        duty: what its modules do, for the documentation.
        modules: their names without the package, as patterns of the shell; ``""`` is the package itself.
        without: libraries that none of them imports.
    """

    name: str
    duty: str
    modules: tuple[str, ...]
    without: frozenset[str] = frozenset()

    def has(self, module: str) -> bool:
        """Whether a module (its name without the package) is in this layer."""
        return any(fnmatchcase(module, pattern) for pattern in self.modules)


def _layer(name: str, duty: str, modules: str, without: frozenset[str] = frozenset()) -> Layer:
    return Layer(name, duty, tuple(modules.split()), without)


PURE = SQL | MESSAGES | DOING
"""What a layer of functions without I/O does without."""

LAYERS: dict[str, tuple[Layer, ...]] = {
    "balsam_jobstore": (
        _layer(
            "process", "opens or moves a database, starts, stops", "__main__ examine moving.__main__ moving.relocating"
        ),
        _layer("server", "translates messages, says who may", "server server.*", SQL),
        _layer(
            "store",
            "one writer, readers, the streams of events, the other job stores",
            "checkpoints feed listening output_reads readers siblings store writer",
            MESSAGES,
        ),
        _layer(
            "verbs",
            "what can be done to jobs, applications, launches, sessions, users: SQL on plain objects",
            "access applications audit_trail creation descent edges events jobs launches leases paging past_sessions "
            "query reading records rights sessions setting_aside users moving moving.*",
            MESSAGES,
        ),
        _layer(
            "transaction",
            "one transaction: moves, events, requests that are done once",
            "auditing requests tx",
            MESSAGES,
        ),
        _layer(
            "database",
            "SQLite and PostgreSQL: files, servers, tables, versions, backups",
            "backups damage database database_file filesystems holding json_at membership migrate migrations "
            "migrations.* nodes one_site postgres postgres_programs schema",
            MESSAGES,
        ),
        _layer(
            "core",
            "rows, rules, amounts, times",
            "amounts clocks columns history news refusals rows rules workflows",
            PURE,
        ),
    ),
    "balsam_scheduler": (
        _layer("process", "the service, and the process of a worker of steps", "__main__ service step_worker", SQL),
        _layer("server", "translates messages", "server", SQL),
        _layer(
            "steps",
            "steps of jobs: staging and scripts, within limits",
            "dispatch guard guarding launches parents programs rules scripts staging steps",
            SQL,
        ),
        _layer(
            "files",
            "copies, links and patterns of files",
            "carriers copying fsspec_copy globbing limits linking places",
            SQL | MESSAGES,
        ),
        _layer(
            "batch",
            "launches: submitted, cancelled, watched, planned in rounds",
            "batch.cancelling batch.looking batch.observing batch.ownership batch.remembering batch.rounds "
            "batch.submitting batch.templates",
            SQL,
        ),
        _layer(
            "systems",
            "batch systems: their commands and what these print",
            "batch.systems batch.systems.*",
            SQL | MESSAGES,
        ),
        _layer(
            "plan",
            "what to submit and cancel, from what is seen",
            "batch.breaker batch.covering batch.lost batch.nodes batch.packing batch.planning batch.policy "
            "batch.reasons batch.scene batch.sizing batch.stuck batch.usage batch.waiting batch.work",
            PURE,
        ),
        _layer(
            "records",
            "launches as the job store has them, their names, and how a command of a batch system is run",
            "batch batch.answers batch.calls batch.naming batch.records",
            SQL,
        ),
    ),
    "balsam_launcher": (
        _layer("process", "the command, and the life of the process", "__main__ command early main step_keeper", SQL),
        _layer("server", "translates messages; shows how far it is", "progress server showing", SQL),
        _layer(
            "launcher",
            "what it holds, starts, hears of and reports",
            "ahead cancelled closed_nodes credit endings ends experience launcher leased leftover losses mpi_ends "
            "of_launch orders outcomes output_sending outputs pool prepare quarantine reports session timers traces "
            "trust",
            SQL,
        ),
        _layer(
            "agents",
            "the agents of its nodes, over pipes and lines",
            "agent_keeper agent_link ensemble fleet handshake line member reading remote_agent starter_process "
            "starters starting",
            SQL | MESSAGES,
        ),
        _layer(
            "agent",
            "starts processes of one node and reaps them",
            "agent leftovers reaping spawning warden",
            SQL | MESSAGES,
        ),
        _layer(
            "nodes", "what the allocation and its nodes are", "allocation mpi nodes time_left topology", SQL | MESSAGES
        ),
        _layer(
            "core",
            "where a job fits, and the words of its command",
            "appetite frames gpus hostlists needs node_sets options placement run_commands seats",
            PURE,
        ),
    ),
    "balsam_cli": (
        _layer("start", "finds the command that was asked for", "__main__ group lazy_group main start", SQL),
        _layer("commands", "a command each: options, and what it calls", "commands commands.*", SQL),
        _layer(
            "subjects",
            "what commands do and show, by subject",
            "access afar applications archive certificates_view databases doctor doctor.* drill drill.* failures "
            "failures.* follow foreground job_file job_options job_output known_sites launches listing live moving "
            "new_jobs one_job outcome plan plan.* plotting policy_note process progress reach records removal "
            "selection service_logs services submitter submitter_view takers team_folders top top.* users watch why "
            "why.*",
            SQL,
        ),
        _layer(
            "text",
            "options, tables, words, numbers",
            "arrays command options output spelling tail terminal text tree",
            SQL | MESSAGES,
        ),
    ),
    "balsam_web": (
        _layer("process", "the server of the page", "browser serving", SQL),
        _layer("server", "translates requests; lets in", "app door guard", SQL | MESSAGES),
        _layer(
            "verbs",
            "asks, does, and hears for the page",
            "actions asking board launchers listening output sent_output",
            SQL,
        ),
        _layer("data", "what the page is told, as JSON", "filters history past records", SQL),
    ),
    "balsam": (
        _layer(
            "interface",
            "what users write: jobs, queries, futures, DAGs, plots",
            "aio application attributes client completions core core.* job job_members launch launcher launcher.* "
            "manager model plots plots.* queryset record reports results rows run_times waiting",
            SQL,
        ),
        _layer("calls", "rpcs, and messages to objects and back", "*_calls convert filters", SQL),
        _layer(
            "serving",
            "what services share: ports, streams, leased work, reports",
            "collector descriptors event_stream health ledger open_streams outbox refusal_log renewal report_batches "
            "request_limits secure_port serving shares work",
            SQL,
        ),
        _layer(
            "connection",
            "a site, its addresses and credentials, and calls to its services",
            "addresses certificates closed commands directories documents endpoints failpoints forks ids locks "
            "logging_in logins logs outputs processes quiet rpc settings site stores",
            SQL,
        ),
        _layer(
            "core",
            "states, fields, queries, errors",
            "errors fields history patterns q query query_values restarts states urls version",
            PURE,
        ),
        _layer("contract", "generated from protos/", "v1 v1.*", SQL),
    ),
}
"""Package -> its layers, from the top down. The root module of a package is above them all."""

FOR_TYPES = frozenset({"balsam.client"})
"""Modules whose names may stand in types anywhere in their package: calls go through a client, which gives the objects
that call."""
