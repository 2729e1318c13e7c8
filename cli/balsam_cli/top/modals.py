"""What lies over the screen for a while: a job's output, a question."""

from __future__ import annotations

import codecs
import threading
from typing import Any

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import RichLog, Static

from balsam.client import Client
from balsam.errors import BalsamError
from balsam.states import State
from balsam_cli.follow import JobEnd
from balsam_cli.job_output import Follower, JobOutput, why_no_output
from balsam_cli.tail import POLL_SECONDS
from balsam_cli.text import one_line, printable

_LAST_BYTES = 65_536


class Said(Message):
    """Text for the screen of an output, from the thread that reads; `about`: whose it is."""

    def __init__(self, text: str, *, about: bool = False) -> None:
        super().__init__()
        self.text = text
        self.about = about


class Question(ModalScreen[bool]):
    """A question that is answered with y or n; Escape is no."""

    BINDINGS = [
        ("y", "answer(True)", "Yes"),
        ("n", "answer(False)", "No"),
        ("escape", "answer(False)", "No"),
        ("q", "answer(False)", "No"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """The question in a box."""
        yield Static(Text(f"{one_line(self._text)}\n\ny yes   n no"), id="question")

    def action_answer(self, answer: bool) -> None:
        """Closes it with an answer."""
        self.dismiss(answer)


class Output(ModalScreen[None]):
    """The end of a job's output, and what comes."""

    BINDINGS = [("escape", "close", "Back"), ("q", "close", "Back"), ("o", "close", "Back")]

    def __init__(self, store: Client, job_id: str) -> None:
        super().__init__()
        self._store = store
        self._job_id = job_id
        self._leaving = threading.Event()
        self._output: JobOutput | None = None

    def compose(self) -> ComposeResult:
        """A line that says whose it is, and the output."""
        with Vertical(id="output"):
            yield Static(Text(f"job {self._job_id[:8]}"), id="whose")
            yield RichLog(wrap=True, markup=False, highlight=False, max_lines=10_000, id="text")
            yield Static(Text("Escape: back"), id="keys")

    def on_mount(self) -> None:
        """Reads in a thread: a file may be slow, and the job store away."""
        self.query_one("#text", RichLog).focus()
        threading.Thread(target=self._read, name="output", daemon=True).start()

    def on_unmount(self) -> None:
        """Reads no more."""
        self._leaving.set()
        if self._output is not None:
            self._output.close()

    def action_close(self) -> None:
        """Back to the site."""
        self.dismiss(None)

    def _read(self) -> None:
        try:
            job = self._store.jobs.get(self._job_id)
            output = self._output = JobOutput(self._store, job, -_LAST_BYTES)
            self.post_message(Said(_title(job, output), about=True))
            self._follow(job, output)
        except BalsamError as error:
            self.post_message(Said(str(error)))

    def _follow(self, job: dict[str, Any], output: JobOutput) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._show_text(decoder.decode(output.read()))
        if not output.is_here and job["state"] != State.RUNNING.name:
            self.post_message(Said(why_no_output(job, output)))
        end = JobEnd(self._store, self._job_id)
        follower = Follower(output, lambda: end.changes, lambda text: self.post_message(Said(text)))
        try:
            while not self._leaving.is_set():
                for data in follower.pieces():
                    self._show_text(decoder.decode(data))
                self._leaving.wait(POLL_SECONDS)
        finally:
            end.close()

    def _show_text(self, text: str) -> None:
        if text:
            self.post_message(Said(text.rstrip("\n")))

    @on(Said)
    def _show(self, message: Said) -> None:
        if message.about:
            self.query_one("#whose", Static).update(Text(one_line(message.text)))
        else:
            self.query_one("#text", RichLog).write(Text(printable(message.text)))


def _title(job: dict[str, Any], output: JobOutput) -> str:
    return f"{job.get('name') or 'job'} ({job['job_id'][:8]}), {job['state']}: {output.path}"
