"""The node agent, as a real process that starts real processes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam_launcher.agent import ANNOUNCE_SECONDS
from balsam_launcher.frames import Notice
from balsam_launcher.topology import cores_of_this_host
from tests.support.agents import AgentHost, alive, clean_environ, wait_for_text, wait_gone
from tests.support.sites import wait_until


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentHost]:
    host = AgentHost(tmp_path, clean_environ(COLOUR="blue", BALSAM_JOB_TOKEN="outer"))
    yield host
    host.close()


def pids_in(agent: AgentHost, run_id: int, count: int) -> list[int]:
    """The pids that a run has written into the file `pids` of its directory."""
    file = agent.run_directory(run_id) / "pids"
    wait_for_text(file, "ready")
    pids = [int(word) for word in file.read_text().split() if word.isdigit()]
    assert len(pids) == count
    return pids


def standard_signals(line: str) -> int:
    """The mask in a line like ``SigIgn: 0000000000001000``, without real-time signals (two are the C library's)."""
    return int(line.split()[1], 16) & (1 << 31) - 1


# Starting


def test_a_run_has_its_directory_arguments_environment_and_output_file(agent: AgentHost) -> None:
    run = agent.shell("pwd; echo $COLOUR $SIZE; echo error >&2; cat", variables={"SIZE": "3 cm"})
    assert agent.wait_end(run) == (0, "")
    assert agent.output(run) == f"{agent.run_directory(run)}\nblue 3 cm\nerror\n"


def test_nothing_of_an_outer_run_reaches_a_run(agent: AgentHost) -> None:
    run = agent.shell("echo token=$BALSAM_JOB_TOKEN")
    agent.wait_end(run)
    assert agent.output(run) == "token=\n"


SHOW_AFFINITY = (sys.executable, "-c", "import os; print(sorted(os.sched_getaffinity(0)))")


def test_a_bound_run_has_its_cores_alone_and_the_next_one_has_all(agent: AgentHost) -> None:
    cores = cores_of_this_host()
    for run_cores in ((0,), tuple(range(len(cores))), (len(cores) - 1,)):
        run = agent.start(*SHOW_AFFINITY, cores=run_cores, threads_per_core=1)
        assert agent.wait_end(run) == (0, "")
        assert agent.output(run) == f"{[cores[number][0] for number in run_cores]}\n"
    run = agent.start(*SHOW_AFFINITY)
    agent.wait_end(run)
    assert agent.output(run) == f"{sorted(os.sched_getaffinity(0))}\n"


def test_a_bound_run_that_cannot_be_started_leaves_the_agent_as_it_was(agent: AgentHost) -> None:
    run = agent.start("no-such-command", cores=(0,))
    assert agent.wait_refused(run)[0] == 127
    run = agent.start(*SHOW_AFFINITY)
    agent.wait_end(run)
    assert agent.output(run) == f"{sorted(os.sched_getaffinity(0))}\n"


def test_a_core_that_is_not_there_is_refused_with_the_reason(agent: AgentHost) -> None:
    there = len(cores_of_this_host())
    code, why = agent.wait_refused(agent.start("true", cores=(0, 4095)))
    assert code == 126
    assert why == (
        f"cannot bind it to cores 0,4095: this node has {there}, numbered from 0; set cores_per_node in settings.toml"
    )


def test_what_does_not_fit_starts_by_itself_when_there_is_room(agent: AgentHost, tmp_path: Path) -> None:
    (tmp_path / "order").touch()
    script = "echo $BALSAM_JOB_ID >> ../order; while [ ! -e ../go-$BALSAM_JOB_ID ]; do sleep 0.01; done"
    first, second, whole, last = (agent.shell(script, share=share) for share in (0.5, 0.5, 1.0, 0.5))
    wait_for_text(tmp_path / "order", f"job-{second}")
    (tmp_path / f"go-job-{first}").touch()
    agent.wait_end(first)
    order = [f"job-{first}", f"job-{second}"]
    assert sorted((tmp_path / "order").read_text().split()) == order  # half of the node is not enough
    (tmp_path / f"go-job-{second}").touch()
    wait_for_text(tmp_path / "order", f"job-{whole}")
    (tmp_path / f"go-job-{whole}").touch()
    wait_for_text(tmp_path / "order", f"job-{last}")
    (tmp_path / f"go-job-{last}").touch()
    assert agent.wait_end(last) == (0, "")


def test_what_waits_may_be_dropped_and_what_runs_may_not(agent: AgentHost) -> None:
    running, waiting = agent.start("sleep", "0.3", share=1.0), agent.start("true", share=1.0)
    agent.wait_for(Notice.STARTED, run_id=running)
    agent.drop(running)
    agent.drop(waiting)
    assert agent.wait_for(Notice.DROPPED) == (Notice.DROPPED, waiting)
    assert agent.wait_end(running) == (0, "")


def test_a_run_that_cannot_start_takes_no_room(agent: AgentHost) -> None:
    agent.start("no-such-command", share=1.0)
    assert agent.wait_end(agent.start("true", share=1.0)) == (0, "")


def test_output_is_appended_and_never_lost(agent: AgentHost, tmp_path: Path) -> None:
    for word in ("one", "two"):
        agent.wait_end(agent.start("echo", word, directory=str(tmp_path / "same")))
    assert (tmp_path / "same" / "job.out").read_text() == "one\ntwo\n"


def test_times_are_those_of_start_and_end(agent: AgentHost) -> None:
    before = time.time()
    run = agent.start("sleep", "0.2")
    _, _, _, start_us, end_us, _, stopped = agent.wait_for(Notice.ENDED, run_id=run)
    assert before - 1 <= start_us / 1e6 <= end_us / 1e6 <= time.time() + 1
    assert end_us - start_us >= 200_000
    assert not stopped


def test_a_run_that_lasts_is_announced_and_a_short_one_is_not(agent: AgentHost) -> None:
    short, long = agent.start("true"), agent.start("sleep", str(ANNOUNCE_SECONDS * 8))
    kinds = [agent.wait_for(Notice.STARTED, Notice.ENDED)[:2] for _ in range(3)]
    assert kinds == [(Notice.ENDED, short), (Notice.STARTED, long), (Notice.ENDED, long)]


def test_runs_start_with_default_signals_in_a_session_of_their_own(agent: AgentHost) -> None:
    run = agent.shell("grep -E '^Sig(Blk|Ign)' /proc/self/status; echo $$ $(ps -o sid= -p $$)")
    agent.wait_end(run)
    blocked, ignored, ids = agent.output(run).splitlines()
    assert standard_signals(blocked) == 0
    assert standard_signals(ignored) == 0
    assert len(set(ids.split())) == 1


def test_only_on_demand_sigpipe_is_ignored(agent: AgentHost) -> None:
    run = agent.start("grep", "SigIgn", "/proc/self/status", ignore_sigpipe=True)
    agent.wait_end(run)
    assert standard_signals(agent.output(run)) == 1 << (signal.SIGPIPE - 1)


def test_a_run_inherits_no_descriptor(agent: AgentHost) -> None:
    run = agent.shell("ls /proc/$$/fd; true")
    agent.wait_end(run)
    assert agent.output(run).split() == ["0", "1", "2"]


def test_commands_are_found_on_the_runs_own_path(agent: AgentHost, tmp_path: Path) -> None:
    tool = tmp_path / "my-tool"
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    assert agent.wait_refused(agent.start("my-tool")) == (127, "no such command: my-tool")
    run = agent.start("my-tool", variables={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert agent.wait_end(run)[0] == 0


def test_a_command_that_moves_along_the_path_is_found_again(agent: AgentHost, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        directory.mkdir()
    executable(first / "my-tool", "#!/bin/sh\n")
    variables = {"PATH": f"{first}:{second}:/usr/bin:/bin"}
    assert agent.wait_end(agent.start("my-tool", variables=variables))[0] == 0
    (first / "my-tool").rename(second / "my-tool")
    assert agent.wait_end(agent.start("my-tool", variables=variables))[0] == 0


def test_a_relative_command_is_one_in_the_working_directory(agent: AgentHost, tmp_path: Path) -> None:
    tool = tmp_path / "here.sh"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    assert agent.wait_end(agent.start("./here.sh", directory=str(tmp_path)))[0] == 0
    assert agent.wait_refused(agent.start("./here.sh")) == (127, "no such command: ./here.sh")


def test_a_thousand_short_runs_all_end_once(agent: AgentHost) -> None:
    runs = [agent.start("true", directory=str(agent.directory), output="all.out") for _ in range(1000)]
    assert sorted(agent.wait_for(Notice.ENDED)[1] for _ in runs) == runs
    assert agent.process.poll() is None


# What cannot be started


def executable(file: Path, text: str, mode: int = 0o755) -> str:
    file.write_text(text)
    file.chmod(mode)
    return str(file)


def test_every_reason_not_to_start_is_told(agent: AgentHost, tmp_path: Path) -> None:
    cases = {
        "world!": (127, "no such command: world!"),
        "/none/at/all": (127, "no such command: /none/at/all"),
        executable(tmp_path / "plain", "x", 0o644): (126, "it is not executable; try `chmod +x`"),
        executable(tmp_path / "bad", "#!/none/python\n"): (126, "the interpreter in its first line does not exist"),
        executable(tmp_path / "noline", "echo hello\n"): (126, "a script with a first line like #!/bin/sh"),
        str(tmp_path): (126, "it is a directory"),
        "": (127, "no such command: "),
    }
    for command, (code, reason) in cases.items():
        found = agent.wait_refused(agent.start(command))
        assert found[0] == code
        assert reason in found[1]


def test_too_long_arguments_are_that_runs_error(agent: AgentHost) -> None:
    code, reason = agent.wait_refused(agent.start("echo", "x" * 3_000_000))
    assert (code, "too long" in reason) == (126, True)


def test_a_needed_command_is_looked_for_before_the_run_command_starts(agent: AgentHost) -> None:
    assert agent.wait_refused(agent.start("echo", needs="world!")) == (127, "no such command: world!")
    assert agent.wait_refused(agent.start("echo", needs="/none")) == (127, "no such command: /none")
    assert agent.wait_end(agent.start("echo", needs="ls"))[0] == 0


def test_what_no_system_call_takes_is_that_runs_error(agent: AgentHost) -> None:
    for odd in ({"directory": "/tmp/a\0b"}, {"variables": {"A": "\0"}}, {"output": "a\0b"}):
        code, reason = agent.wait_refused(agent.start("true", **odd))
        assert (code, "null" in reason) == (126, True)
    assert agent.wait_refused(agent.start("true", "a\0b"))[0] == 126
    assert agent.wait_end(agent.start("true"))[0] == 0


def test_an_output_file_that_is_no_plain_file_is_refused(agent: AgentHost, tmp_path: Path) -> None:
    for name in ("link", "pipe"):
        (tmp_path / name).mkdir()
    (tmp_path / "link" / "job.out").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "pipe" / "job.out")
    assert "symbolic link" in agent.wait_refused(agent.start("true", directory=str(tmp_path / "link")))[1]
    assert "cannot write" in agent.wait_refused(agent.start("true", directory=str(tmp_path / "pipe")))[1]
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_cannot_be_made_is_that_runs_error(agent: AgentHost, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, reason = agent.wait_refused(agent.start("true", directory=str(tmp_path / "file" / "sub")))
    assert (code, "cannot use the working directory" in reason) == (126, True)


def test_a_host_that_is_short_of_descriptors_costs_no_attempt(agent: AgentHost) -> None:
    agent.wait_end(agent.start("true"))
    limits = resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    run = agent.start("true")
    assert "Too many open files" in agent.wait_for(Notice.LOG)[1]
    resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, limits)
    assert agent.wait_end(run) == (0, "")


def test_what_waits_for_better_times_can_be_dropped(agent: AgentHost) -> None:
    agent.wait_end(agent.start("true"))
    limits = resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    run = agent.start("true")
    agent.wait_for(Notice.LOG)
    agent.stop(run, 1.0)
    assert agent.wait_for(Notice.DROPPED) == (Notice.DROPPED, run)
    resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, limits)


# Ends


def test_an_error_is_told_with_its_code_and_the_tail_of_the_output(agent: AgentHost) -> None:
    run = agent.shell("echo working; echo 'no such basis set' >&2; exit 3")
    assert agent.wait_end(run) == (3, "exit code 3\nworking\nno such basis set")


def test_the_tail_is_of_this_run_only(agent: AgentHost, tmp_path: Path) -> None:
    for word in ("one", "two"):
        end = agent.wait_end(agent.shell(f"echo {word}; exit 1", directory=str(tmp_path / "same")))
        assert end == (1, f"exit code 1\n{word}")


def test_a_signal_is_told(agent: AgentHost) -> None:
    assert agent.wait_end(agent.shell("kill -SEGV $$")) == (-11, "killed by SIGSEGV (11)")


def test_what_a_run_leaves_behind_ends_with_it(agent: AgentHost) -> None:
    run = agent.shell("sleep 300 & echo $! > pids; timeout 300 sleep 300 & echo $! ready >> pids; exit 4")
    assert agent.wait_end(run)[0] == 4
    left = pids_in(agent, run, 2)
    assert not [pid for pid in left if alive(pid)]


def test_what_tells_its_run_only_later_ends_with_it_too(agent: AgentHost) -> None:
    # As a process that is just becoming another program does, whose environment is empty meanwhile.
    other = agent.start("sleep", "300")
    late = "echo $$ ready > pids; sleep 0.05; exec env BALSAM_JOB_ID=job-2 BALSAM_ATTEMPT=1 sleep 300"
    run = agent.shell(f"setsid env -i PATH=$PATH bash -c '{late}' & while [ ! -s pids ]; do :; done")
    assert agent.wait_end(run)[0] == 0
    assert not alive(pids_in(agent, run, 1)[0])
    agent.stop(other, 5)
    assert agent.wait_end(other)[0] == -15


def test_nothing_is_left_of_a_run_when_its_success_is_told(agent: AgentHost) -> None:
    other = agent.start("sleep", "300")
    run = agent.shell("setsid -w bash -c 'sleep 300 & echo $! ready > pids; disown'")
    assert agent.wait_end(run)[0] == 0
    pid = int((agent.run_directory(run) / "pids").read_text().split()[0])
    assert not alive(pid)  # its post-processing may begin, on the same files
    agent.stop(other, 5)
    assert agent.wait_end(other)[0] == -15


def test_a_daemon_without_a_mark_ends_when_no_run_can_be_its_owner_any_more(agent: AgentHost) -> None:
    run = agent.shell("env -i setsid -w bash -c 'sleep 300 & echo $! ready > pids; disown'; exit 1")
    assert agent.wait_end(run)[0] == 1
    wait_gone(*pids_in(agent, run, 1))


def test_a_daemon_lives_as_long_as_its_run(agent: AgentHost) -> None:
    run = agent.shell("setsid bash -c 'sleep 300 & echo $! ready > pids; disown'; sleep 300")
    (pid,) = pids_in(agent, run, 1)
    for _ in range(3):
        agent.wait_end(agent.shell("exit 1"))  # each makes the agent look for leftovers
    assert alive(pid)
    agent.stop(run, 5)
    agent.wait_end(run)
    assert not alive(pid)


# Stops


def test_a_stopped_run_ends_at_once_with_its_whole_tree(agent: AgentHost) -> None:
    run = agent.shell("sleep 300 & echo $! > pids; setsid sleep 300 & echo $! ready >> pids; wait")
    left = pids_in(agent, run, 2)
    began = time.monotonic()
    agent.stop(run, 60)
    _, _, returncode, _, _, message, stopped = agent.wait_for(Notice.ENDED, run_id=run)
    assert time.monotonic() - began < 5
    assert (returncode, message, stopped) == (-15, "killed by SIGTERM (15)", True)
    assert not [pid for pid in left if alive(pid)]


def test_what_ignores_term_is_killed_after_the_grace(agent: AgentHost) -> None:
    run = agent.shell("trap '' TERM; echo up; while true; do sleep 0.05; done")
    agent.wait_output(run, "up")
    began = time.monotonic()
    agent.stop(run, 0.4)
    assert agent.wait_end(run)[0] == -9
    assert time.monotonic() - began >= 0.4


def test_the_rest_of_a_tree_has_its_grace_though_its_first_process_ended(agent: AgentHost) -> None:
    # The shell dies of TERM at once; the program below it saves its state first.
    inner = "trap 'sleep 0.5; echo saved; exit' TERM; echo up; while true; do sleep 0.05; done"
    run = agent.shell(f'bash -c "{inner}"; echo never')
    agent.wait_output(run, "up")
    agent.stop(run, 30)
    agent.wait_end(run)
    assert "saved" in agent.output(run)


def test_a_second_stop_shortens_the_grace(agent: AgentHost) -> None:
    run = agent.shell("trap '' TERM; echo up; while true; do sleep 0.05; done")
    agent.wait_output(run, "up")
    agent.stop(run, 300)
    agent.stop(run, 0.1)
    agent.stop(run, 300)
    assert agent.wait_end(run)[0] == -9


def test_stopping_what_has_ended_does_nothing(agent: AgentHost) -> None:
    run = agent.start("true")
    agent.wait_end(run)
    agent.stop(run, 1)
    agent.stop(99, 1)
    assert agent.wait_end(agent.start("true")) == (0, "")


# The agent's own end


def test_when_the_launcher_is_gone_every_tree_ends_within_two_seconds(agent: AgentHost) -> None:
    polite = agent.shell("sleep 300 & echo $$ $! ready > pids; wait")
    daemon = "setsid bash -c 'sleep 300 & echo $! ready > pids; disown'"
    stubborn = agent.shell(f"trap '' TERM; {daemon}; sleep 300; sleep 300")
    left = [*pids_in(agent, polite, 2), *pids_in(agent, stubborn, 1)]
    began = time.monotonic()
    agent.socket.shutdown(2)
    wait_gone(*left)
    agent.process.wait(30)
    assert time.monotonic() - began < 6  # two seconds, on a machine that does nothing else
    assert agent.process.returncode == 0


def test_without_runs_it_goes_at_once_when_the_launcher_goes(agent: AgentHost) -> None:
    agent.wait_end(agent.start("true"))
    agent.socket.shutdown(2)
    assert agent.process.wait(10) == 0


def test_signals_to_the_group_do_not_end_it(agent: AgentHost) -> None:
    agent.wait_end(agent.start("true"))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        os.kill(agent.process.pid, number)
    assert agent.wait_end(agent.start("true")) == (0, "")


def test_it_does_not_wait_for_a_launcher_that_is_not_reading(agent: AgentHost) -> None:
    """Notices fill the socket; runs are started and stopped all the same."""
    count = 3000
    for _ in range(count):
        agent.start("none-such-" + "x" * 200)
    last = agent.shell("echo $$ ready > pids; sleep 300")
    (pid,) = pids_in(agent, last, 1)
    agent.stop(last, 5)
    wait_gone(pid)
    refused = [agent.wait_for(Notice.REFUSED)[1] for _ in range(count)]
    assert sorted(refused) == list(range(1, count + 1))


def test_it_leaves_no_zombies(agent: AgentHost) -> None:
    for _ in range(5):
        agent.wait_end(agent.shell("sleep 0.01 & disown; true"))
    time.sleep(0.05)
    agent.wait_end(agent.start("true"))
    found = subprocess.run(["ps", "-o", "stat=", "--ppid", str(agent.process.pid)], capture_output=True, text=True)
    assert found.stdout.split() == []


# Trust


def test_when_trust_ends_runs_are_stopped_though_the_launcher_says_nothing(agent: AgentHost) -> None:
    run = agent.start("sleep", "60")
    notice = agent.wait_for(Notice.STARTED, run_id=run)
    agent.trust(0.1, grace=5.0)
    ended = agent.wait_for(Notice.ENDED, run_id=run)
    assert (ended[2], ended[6]) == (-signal.SIGTERM, True)
    assert not alive(notice[2])


def test_a_run_that_ignores_the_end_of_trust_is_killed_after_its_grace(agent: AgentHost) -> None:
    run = agent.shell("trap '' TERM; touch up; while true; do sleep 0.01; done")
    wait_until((agent.run_directory(run) / "up").exists)
    agent.trust(0.1, grace=0.1)
    ended = agent.wait_for(Notice.ENDED, run_id=run)
    assert (ended[2], ended[6]) == (-signal.SIGKILL, True)


def test_the_end_of_trust_shortens_the_grace_of_a_run_that_is_being_stopped(agent: AgentHost) -> None:
    run = agent.shell("trap '' TERM; touch up; while true; do sleep 0.01; done")
    wait_until((agent.run_directory(run) / "up").exists)
    agent.stop(run, grace=600.0)
    agent.trust(0.1, grace=0.1)
    assert agent.wait_end(run)[0] == -signal.SIGKILL


def test_runs_go_on_as_long_as_trust_is_renewed(agent: AgentHost) -> None:
    run = agent.shell("while [ ! -e gate ]; do sleep 0.01; done; echo done")
    agent.wait_for(Notice.STARTED, run_id=run)
    for _ in range(10):
        agent.trust(0.3)
        time.sleep(0.1)
    (agent.run_directory(run) / "gate").touch()
    assert agent.wait_end(run) == (0, "")


def test_nothing_starts_without_trust_and_what_waits_starts_with_it(agent: AgentHost) -> None:
    agent.trust(-1.0)
    run = agent.start("touch", "file")
    dropped = agent.start("touch", "file")
    agent.stop(dropped, 0.0)
    assert agent.wait_for(Notice.DROPPED)[1] == dropped
    assert not agent.run_directory(run).exists()
    agent.trust(60.0)
    assert agent.wait_end(run) == (0, "")
    assert not agent.run_directory(dropped).exists()
