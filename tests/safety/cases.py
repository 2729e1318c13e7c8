"""Attacks, as data: what an attacker says, or has left in a directory, and what must come of it.

In texts ``@OUT`` stands for the tree that nothing may touch, ``@OWN`` for a directory of the attacker's own, and
``@PROBE`` for a program that writes down its arguments and variables where it runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.safety.ground import IN_DIRECTORIES, Ground


@dataclass(frozen=True)
class Plot:
    """The place of one attack: the job, its working directory, and what is around."""

    ground: Ground
    job_id: str
    directory: Path
    parent: Path
    """Working directory of the job's parent, where it has one."""

    @property
    def outside(self) -> Path:
        """The tree that nothing may touch."""
        return self.ground.outside


@dataclass(frozen=True)
class Case:
    """One attack. It is refused, or the job fails, or it finishes; nothing else may come of it.

    Attributes:
        title: what is tried.
        fields: of the job.
        app: fields of its application, beside the probe; None: the job has none.
        refused: the field for which job or application is refused.
        fails: part of the message with which the job fails.
        argv: what the command got as its arguments, if it ran.
        plant: what was left in directories before.
        look: looks at what came of it.
    """

    title: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    app: Mapping[str, Any] | None = field(default_factory=dict)
    refused: str = ""
    fails: str = ""
    argv: Sequence[str] | None = None
    plant: Callable[[Plot], None] | None = None
    look: Callable[[Plot], None] | None = None
    has_parent: bool = False


def _named(field_name: str, refused: Mapping[str, str]) -> list[Case]:
    return [Case(f"{field_name}: {title}", {field_name: text}, refused=field_name) for title, text in refused.items()]


# Texts that are refused

NAMES = _named(
    "name",
    {
        "a directory above": "../evil",
        "the directory above": "..",
        "the directory itself": ".",
        "a separator": "a/b",
        "an absolute path": "/etc/passwd",
        "a line break": "a\nb",
        "a carriage return": "good\revil",
        "a terminal escape": "a\x1b[2Jb",
        "an escape of one character": "a\x9b31m",
        "a delete": "a\x7fb",
        "a tab": "a\tb",
        "a NUL": "a\0b",
        "too long": "x" * 201,
        "too long in bytes": "é" * 101,
        "a blank at its end": "a ",
    },
)
WORKFLOWS = _named(
    "workflow",
    {
        "a directory above": "../x",
        "a way back": "a/../../x",
        "an absolute path": "/tmp/x",
        "an empty part": "a//b",
        "the directory itself": "a/./b",
        "a terminal title": "a/\x1b]0;x\x07",
        "a NUL": "a\0",
        "a part that is too long": "a/" + "x" * 201,
        "too long": "a/" * 600 + "a",
    },
)
WORKDIRS = _named(
    "user_workdir",
    {
        "a relative path": "x/y",
        "a way back": "@OWN/../../etc",
        "a line break": "/tmp/a\nb",
        "a terminal escape": "/tmp/\x1b[2J",
        "a NUL": "/tmp/a\0b",
        "too long": "/" + "x" * 4000,
    },
)
PATTERNS = [
    *_named("input_files", {"above": "../*", "absolute": "/etc/passwd", "a way back": "a/../../b", "a quote": "'a"}),
    *_named("stage_out_files", {"above": "../*", "absolute": "@OUT/*", "a way back": "x/../..", "a NUL": "a\0"}),
]
URLS = [
    *_named(
        "stage_in_url",
        {
            "an option of ssh for a host": "scp:-oProxyCommand=touch @OUT/x:/p",
            "the same as a URL": "scp://-oProxyCommand=touch/p",
            "the same in brackets": "scp:[-oProxyCommand=touch]:/p",
            "the same in percent": "scp://%2DoProxyCommand=touch/p",
            "the same for a user": "scp:-oProxyCommand=touch@host:/p",
            "an option of rsync": "rsync:-e evil:/x",
            "a program of git": "ext::sh -c touch% @OUT/x",
            "another program": "javascript:alert(1)",
            "a relative path": "local:../../x",
            "a relative file": "file:x",
            "a line break": "local:/a\n/b",
            "a terminal escape": "local:/\x1b[31m",
        },
    ),
    *_named("stage_out_url", {"the web": "https://127.0.0.1/x", "nowhere": "s3:bucket", "memory": "memory://x/y"}),
]
WORDS = [
    *_named("args", {"an open quote": "'a", "an open escape": "a \\", "a NUL": "a\0b", "too long": "x" * 131_073}),
    *_named("mpi_flags", {"an open quote": '"a', "a NUL": "-n\0"}),
]
VARIABLES = [
    Case(f"environ_vars: {title}", {"environ_vars": variables}, refused="environ_vars")
    for title, variables in {
        "a name with =": {"A=B": "x"},
        "no name": {"": "x"},
        "a name with a line break": {"A\nB": "x"},
        "a name with a blank": {"A B": "x"},
        "a name with an escape": {"A\x1b[2J": "x"},
        "a NUL": {"A": "x\0LD_PRELOAD=evil"},
        "a value that is too long": {"A": "x" * 131_073},
        "too many": {f"V{n}": "x" for n in range(10_001)},
        "too much": {f"V{n}": "x" * 120_000 for n in range(10)},
    }.items()
]
DATA = _named(
    "data", {"too deep": '{"x":' + "[" * 5000 + "]" * 5000 + "}", "not a number": '{"x": NaN}', "a list": "[]"}
)
APPLICATIONS = [
    Case(f"application: {name}, {title}", app={name: text}, refused=name)
    for name, title, text in [
        ("name", "a directory above", "../x"),
        ("name", "an escape", "a\x1b[2J"),
        ("executable", "an open quote", "'sh"),
        ("executable", "nothing", " "),
        ("executable", "a NUL", "a\0b"),
        ("preprocess", "an open quote", "'sh"),
        ("postprocess", "an open escape", "sh \\"),
        ("envscript", "a NUL", "/x\0y"),
        ("envscript", "too long", "/" + "x" * 70_000),
    ]
]

# Texts that are taken, and are nothing but texts

HARMLESS_NAMES = [
    Case(f"name: {name!r}", {"name": name}, argv=[])
    for name in [
        *("-rf", "--help", "-oProxyCommand=x", "a b;touch pwned", "$(touch pwned)", "`id`", "~", "~root", "%s%n{name}"),
        *("*", "'\"\\", "x" * 200, "é" * 100, "con.out", "\u202egnp.exe", "a\u2028b", "a\u200bb", "$IFS", "&& id", "#"),
    ]
]
HARMLESS_WORKFLOWS = [
    Case(f"workflow: {workflow!r}", {"workflow": workflow}, argv=[])
    for workflow in ("-n/$(id)", "*/?", "~root/x", "a b/`id`", "\u202ea/b", "x" * 200)
]
HARMLESS_WORKDIRS = [
    Case("user_workdir: shell characters", {"user_workdir": "@OWN/a $(touch pwned); id"}, argv=[]),
    Case("user_workdir: below a file", {"user_workdir": "/dev/null/x"}, fails="/dev/null/x"),
    Case("user_workdir: of the kernel", {"user_workdir": "/proc/self/fd/x"}, fails="cannot use the working directory"),
]
ARGUMENTS = [
    Case(f"args: {text!r}", {"args": text}, argv=words)
    for text, words in {
        "; touch @OUT/x": [";", "touch", "@OUT/x"],
        "$(touch @OUT/x)": ["$(touch", "@OUT/x)"],
        "`touch @OUT/x`": ["`touch", "@OUT/x`"],
        "| sh": ["|", "sh"],
        "&& id || id &": ["&&", "id", "||", "id", "&"],
        "> @OUT/x 2>&1 < @OUT/a.dat": [">", "@OUT/x", "2>&1", "<", "@OUT/a.dat"],
        "* ? [a-z] {a,b}": ["*", "?", "[a-z]", "{a,b}"],
        "$HOME ${PATH} $((1+1))": ["$HOME", "${PATH}", "$((1+1))"],
        "'a\nb' \"c\td\"": ["a\nb", "c\td"],
        "a\nid\n": ["a", "id"],
        "\x1b[31m \x07": ["\x1b[31m", "\x07"],
        "-- -o --exec=evil": ["--", "-o", "--exec=evil"],
        "~nosuchuser/x a~root": ["~nosuchuser/x", "a~root"],
        "!! !$ #x": ["!!", "!$", "#x"],
        "'' \"\"": ["", ""],
        "\\; \\$x '\\'": [";", "$x", "\\"],
        "é漢😀 \u202e": ["é漢😀", "\u202e"],
    }.items()
]


def _variable(name: str, value: str | None) -> Callable[[Plot], None]:
    """The run had this variable; None: it had another value than the attacker's."""

    def look(plot: Plot) -> None:
        texts = (plot.directory / "probe.env").read_bytes().split(b"\0")
        seen = dict(text.split(b"=", 1) for text in texts if b"=" in text)
        found = os.fsdecode(seen[os.fsencode(name)])
        if value is None:
            assert found not in ("evil", "")
        else:
            assert found == value.replace("@OUT", str(plot.outside))

    return look


ENVIRONMENT = [
    Case("environ_vars: a function for the shell", {"environ_vars": {"x": "() { :;}; touch @OUT/x"}}, argv=[]),
    Case("environ_vars: a command", {"environ_vars": {"A": "$(touch @OUT/x)"}}, look=_variable("A", "$(touch @OUT/x)")),
    Case("environ_vars: a line break", {"environ_vars": {"A": "1\nB=2"}}, look=_variable("A", "1\nB=2")),
    *(
        Case(f"environ_vars: {name}", {"environ_vars": {name: "evil"}}, look=_variable(name, None))
        for name in ("BALSAM_JOB_ID", "BALSAM_JOB_TOKEN", "BALSAM_DB_PATH", "BALSAM_ATTEMPT", "BALSAM_NODES")
    ),
    Case(
        "environ_vars: a word for the executable",
        {"environ_vars": {"EVIL": "true; touch @OUT/x"}},
        app={"executable": "@PROBE $EVIL"},
        argv=["true; touch @OUT/x"],
    ),
]
COMMANDS = [
    Case("executable: more commands", app={"executable": "@PROBE ; touch @OUT/x"}, argv=[";", "touch", "@OUT/x"]),
    Case("executable: a command in it", app={"executable": "@PROBE $(id)"}, argv=["$(id)"]),
    Case("executable: a directory", app={"executable": "@OUT"}, fails="it is a directory"),
    Case("executable: not executable", app={"executable": "@OUT/a.dat"}, fails="it is not executable"),
    Case("executable: a line of a shell", app={"executable": "'@PROBE && id'"}, fails="no such command"),
    Case("preprocess: more commands", app={"preprocess": "@PROBE ; touch @OUT/x"}, argv=[]),
    Case("preprocess: a redirection", app={"preprocess": "true > @OUT/x"}, argv=[]),
    Case("postprocess: a command in it", app={"postprocess": "@PROBE `touch @OUT/x`"}, argv=["`touch", "@OUT/x`"]),
    Case("envscript: shell characters", app={"envscript": "@OWN/env $(touch x); id.sh"}, argv=[]),
    Case("envscript: an option", app={"envscript": "-x"}, fails="the envscript -x failed"),
    Case("envscript: quotes", app={"envscript": "@OWN/no'such\"file"}, fails="failed with code 1"),
    Case(
        "envscript: arguments stay words",
        {"args": "'a b' $(touch@OUT) '; id'"},
        app={"envscript": "@OWN/env $(touch x); id.sh"},
        argv=["a b", "$(touch@OUT)", "; id"],
    ),
]

# What was left in the working directory


def _output(make: Callable[[Path, Plot], None]) -> Callable[[Plot], None]:
    return _file("job.out", make)


def _file(name: str, make: Callable[[Path, Plot], None]) -> Callable[[Plot], None]:
    def plant(plot: Plot) -> None:
        plot.directory.mkdir(parents=True)
        make(plot.directory / name, plot)

    return plant


def _link(path: Path, plot: Plot) -> None:
    path.symlink_to(plot.outside / "a.dat")


def _new_link(path: Path, plot: Plot) -> None:
    path.symlink_to(plot.outside / "new")


def _directory_link(path: Path, plot: Plot) -> None:
    path.symlink_to(plot.outside / "sub")


def _hard_link(path: Path, plot: Plot) -> None:
    os.link(plot.outside / "a.dat", path)


def _pipe(path: Path, plot: Plot) -> None:
    os.mkfifo(path)


def _directory(path: Path, plot: Plot) -> None:
    path.mkdir()


def _workdir(make: Callable[[Path, Plot], None]) -> Callable[[Plot], None]:
    def plant(plot: Plot) -> None:
        plot.directory.parent.mkdir(parents=True, exist_ok=True)
        make(plot.directory, plot)

    return plant


def _workflow_link(plot: Plot) -> None:
    plot.directory.parent.parent.mkdir(parents=True, exist_ok=True)
    plot.directory.parent.symlink_to(plot.outside / "sub")


def _plain(path: Path, plot: Plot) -> None:
    path.write_text("")


_STAGED = {"stage_in_url": "@OWN/input"}
_LINKED = "is a symbolic link"
OUTPUTS = [
    Case("output: a link", plant=_output(_link), fails="it is a symbolic link"),
    Case("output: a link to what is not there", plant=_output(_new_link), fails="it is a symbolic link"),
    Case("output: a link to a directory", plant=_output(_directory_link), fails="it is a symbolic link"),
    Case("output: a hard link", plant=_output(_hard_link), fails="hard link"),
    Case("output: a pipe", plant=_output(_pipe), fails="cannot write the output file"),
    Case("output: a directory", plant=_output(_directory), fails="cannot write the output file"),
]
PLACES = [
    *(
        Case(f"working directory: a link, {title}", {**fields, "workflow": "links"}, app, plant=plant, fails=_LINKED)
        for title, fields, app in (
            ("at a run", {}, {}),
            ("at staging", _STAGED, {}),
            ("at a script", {}, {"preprocess": "true"}),
        )
        for plant in (_workdir(_directory_link), _workdir(_new_link))
    ),
    *(
        Case(
            f"workflow: a link, {title}",
            {**fields, "workflow": f"link-{title}/x"},
            app,
            plant=_workflow_link,
            fails=_LINKED,
        )
        for title, fields, app in (("run", {}, {}), ("staging", _STAGED, {}), ("script", {}, {"preprocess": "true"}))
    ),
    Case("working directory: a file", plant=_workdir(_plain), fails="Not a directory"),
]
LOGS = [
    Case(f"{log}: {title}", {}, {log.partition(".")[0]: "echo x"}, plant=_file(log, make), fails=fails)
    for log in ("preprocess.log", "postprocess.log")
    for title, make, fails in (
        ("a link", _link, "symbolic link"),
        ("a link to what is not there", _new_link, "symbolic link"),
        ("a hard link", _hard_link, "hard link"),
        ("a pipe", _pipe, "No such device or address"),
        ("a directory", _directory, "Is a directory"),
    )
]


def _in_the_way(plot: Plot) -> None:
    """Links with the names of what is to be staged in."""
    plot.directory.mkdir(parents=True)
    (plot.directory / "a.dat").symlink_to(plot.outside / "a.dat")
    os.link(plot.outside / "bashrc", plot.directory / "b.dat")


def _links_above(plot: Plot) -> None:
    plot.directory.mkdir(parents=True)
    (plot.directory / "sub").symlink_to(plot.outside / "sub")


def _scratch(make: Callable[[Path, Plot], None]) -> Callable[[Plot], None]:
    def plant(plot: Plot) -> None:
        plot.directory.mkdir(parents=True)
        make(plot.directory / f".balsam-{plot.job_id}", plot)

    return plant


def _scratch_of_links(path: Path, plot: Plot) -> None:
    (path / "tree").mkdir(parents=True)
    (path / "tree" / "a.dat").symlink_to(plot.outside / "a.dat")
    (path / "tree" / "sub").symlink_to(plot.outside / "sub")
    (path / "draft").symlink_to(plot.outside / "a.dat")
    (path / "locked").mkdir(mode=0o000)


def _staged(plot: Plot) -> None:
    assert (plot.directory / "a.dat").read_text() == "input a"
    assert not (plot.directory / "a.dat").is_symlink()
    assert (plot.directory / "b.dat").stat().st_nlink == 1


STAGE_IN = [
    Case("stage-in: over links", _STAGED, plant=_in_the_way, look=_staged, argv=[]),
    Case("stage-in: into a link to a directory", _STAGED, plant=_links_above, fails="in the way of a directory"),
    Case("stage-in: a link for our own directory", _STAGED, plant=_scratch(_directory_link), fails="File exists"),
    Case("stage-in: a file for our own directory", _STAGED, plant=_scratch(_plain), fails="File exists"),
    Case("stage-in: links in our own directory", _STAGED, plant=_scratch(_scratch_of_links), look=_staged, argv=[]),
    Case("stage-in: a device", {"stage_in_url": "/dev/zero"}, fails="is not a plain file"),
    Case("stage-in: a pipe", {"stage_in_url": "@OWN/pipe"}, fails="is not a plain file"),
    Case("stage-in: a directory with a pipe", {"stage_in_url": "@OWN/pipes"}, fails="is not a plain file"),
    Case("stage-in: a link for the output", {"stage_in_url": "@OWN/output"}, fails="it is a symbolic link"),
    Case(
        "stage-in: a link for a log", {"stage_in_url": "@OWN/output"}, {"preprocess": "echo x"}, fails="symbolic link"
    ),
]


def _outputs(plot: Plot) -> None:
    """What a job has left to be staged out."""
    plot.directory.mkdir(parents=True)
    (plot.directory / "good").write_text("good")
    (plot.directory / "secret").symlink_to(plot.outside / "a.dat")
    (plot.directory / "all").symlink_to(plot.outside)
    (plot.directory / "round").symlink_to(".")
    os.mkfifo(plot.directory / "pipe")
    os.mkfifo(os.path.join(os.fsencode(plot.directory), b"\xff\x1b[2J"))


def _only_good(plot: Plot) -> None:
    target = plot.ground.own / "target"
    assert {entry.name for entry in target.iterdir()} == {"good", "job.out", "probe.argv", "probe.env"}
    message = plot.ground.get(plot.job_id).message
    assert "not staged out" in message
    assert "secret" in message


def _linked_target(plot: Plot) -> None:
    (plot.directory / "sub").mkdir(parents=True)
    (plot.directory / "sub" / "b.dat").write_text("evil")
    target = plot.ground.own / "linked"
    target.mkdir()
    (target / "sub").symlink_to(plot.outside / "sub")


def _helpers(plot: Plot) -> None:
    """Programs, libraries and modules with the names of what Balsam starts and loads."""
    plot.directory.mkdir(parents=True)
    for name in IN_DIRECTORIES:
        plot.ground.trap(plot.directory / name)
    for name in ("libcrypto.so.3", "libz.so.1", "libselinux.so.1", "libpopt.so.0", "libresolv.so.2"):
        (plot.directory / name).write_text("no library")
    for name in ("fsspec", "balsam", "balsam_scheduler", "sitecustomize", "usercustomize", "encodings"):
        (plot.directory / f"{name}.py").write_text(f"open({str(plot.ground.started)!r}, 'a').write('module {name}\\n')")


def _no_library(plot: Plot) -> None:
    message = plot.ground.get(plot.job_id).message
    assert "ELF" not in message
    assert "too short" not in message


def _sent(url: str) -> dict[str, str]:
    return {"stage_out_url": url, "stage_out_files": "*"}


STAGE_OUT = [
    Case("stage-out: links and pipes", _sent("@OWN/target"), plant=_outputs, look=_only_good, argv=[]),
    Case(
        "stage-out: into a link",
        {"stage_out_url": "@OWN/linked", "stage_out_files": "sub"},
        plant=_linked_target,
        fails="is a link that leads out",
    ),
    Case("stage-out: programs named scp", _sent("scp://127.0.0.1:1/x"), plant=_helpers, fails="sftp", look=_no_library),
    Case(
        "stage-out: programs named rsync", _sent("rsync:127.0.0.1:/x"), plant=_helpers, fails="rsync", look=_no_library
    ),
    Case(
        "stage-out: modules named fsspec",
        _sent("ftp://127.0.0.1:1/x"),
        plant=_helpers,
        fails="fsspec",
        look=_no_library,
    ),
    Case("envscript: a program named bash", {}, {"envscript": "@OWN/env $(touch x); id.sh"}, plant=_helpers, argv=[]),
]


def _parent_files(plot: Plot) -> None:
    """What a parent has left to be linked."""
    (plot.parent / "job.out").write_text("the parent's")
    (plot.parent / "preprocess.log").write_text("the parent's")
    (plot.parent / "out").symlink_to(plot.outside)
    (plot.parent / "round").symlink_to(".")
    (plot.parent / "-rf").write_text("")
    (plot.parent / "a\nb").write_text("")
    (plot.parent / f".balsam-{plot.job_id}").symlink_to(plot.outside)


def _own_files(plot: Plot) -> None:
    assert (plot.parent / "job.out").read_text() == "the parent's"
    assert (plot.parent / "preprocess.log").read_text() == "the parent's"
    assert not (plot.directory / "job.out").is_symlink()


PARENTS = [
    Case(
        f"input_files: {pattern}",
        {"input_files": pattern},
        {"preprocess": "echo x"},
        has_parent=True,
        plant=_parent_files,
        look=_own_files,
        argv=[],
    )
    for pattern in ("*", "** .*", "**/*", "job.out preprocess.log", "'-rf' [!x]*")
]

CASES = [
    *(*NAMES, *WORKFLOWS, *WORKDIRS, *PATTERNS, *URLS, *WORDS, *VARIABLES, *DATA, *APPLICATIONS),
    *(*HARMLESS_NAMES, *HARMLESS_WORKFLOWS, *HARMLESS_WORKDIRS, *ARGUMENTS, *ENVIRONMENT, *COMMANDS),
    *(*OUTPUTS, *PLACES, *LOGS, *STAGE_IN, *STAGE_OUT, *PARENTS),
]
