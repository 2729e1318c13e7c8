"""The screen of `balsam top`."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Sequence

from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import DataTable, Footer, Input, Static

from balsam.client import Client
from balsam.errors import BalsamError
from balsam_cli.output import state_style
from balsam_cli.text import count, one_line
from balsam_cli.top.looking import MOST_RUNS, Observer
from balsam_cli.top.modals import Output, Question
from balsam_cli.top.picture import SORTS, Picture, Rates, bar, rows, since, sorted_runs

_LEAST_BAR, _MOST_BAR = 4, 40  # cells
_BESIDE_BAR = 16 + 1 + 9 + 1 + 10  # state, jobs, rate
_PATIENCE = 1.0  # seconds after which the thread that looks sees that it shall end
_RUN_COLUMNS = ("JOB", "NAME", "WORKFLOW", "APPLICATION", "NODE", "RUNS FOR")
_CAUSE_COLUMNS = ("JOBS", "EXAMPLE", "CAUSE")
_LAUNCH_COLUMNS = ("LAUNCH", "STATE", "NODES", "MINUTES", "QUEUE", "TAKES", "MESSAGE")

Cells = tuple[str, list[Text]]
"""A row: its key, and what stands in it."""


class Seen(Message):
    """There is a new picture."""

    def __init__(self, picture: Picture) -> None:
        super().__init__()
        self.picture = picture


class Trouble(Message):
    """The job store does not answer; `over`: it will not again."""

    def __init__(self, error: BalsamError, *, over: bool) -> None:
        super().__init__()
        self.error = error
        self.over = over


class Done(Message):
    """What was asked for was done, or refused."""

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__()
        self.text = text
        self.refused = refused


class Top(App[BalsamError]):
    """A site on the whole screen.

    Args:
        store: the line to its job store.
        workflow: of which workflow jobs are shown: exact, or a glob; empty: all.
    """

    CSS = """
    #head { height: 1; text-style: bold; }
    #upper { height: auto; max-height: 16; margin-top: 1; }
    #states, #workers { width: 1fr; height: auto; text-wrap: nowrap; text-overflow: ellipsis; }
    DataTable { border: round $primary; height: 1fr; min-height: 4; }
    #runs { height: 2fr; }
    #lower { height: 1fr; min-height: 6; }
    #filter { display: none; dock: bottom; }
    #filter.asked { display: block; }
    Question, Output { align: center middle; }
    #question { width: auto; max-width: 80%; height: auto; padding: 1 2; border: round $warning; background: $surface; }
    #output { width: 95%; height: 90%; border: round $primary; background: $surface; }
    #whose, #keys { height: 1; text-style: bold; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = [
        Binding("slash,f", "filter", "Filter"),
        Binding("s", "sort", "Sort"),
        Binding("o", "output", "Output"),
        Binding("k", "kill", "Kill"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
    ]

    def __init__(self, store: Client, workflow: str = "") -> None:
        super().__init__()
        self._store = store
        self._observer = Observer(store, workflow)
        self._rates = Rates()
        self._by_second: dict[str, float] = {}
        self._sort = SORTS[0]
        self._trouble = ""
        self._leaving = threading.Event()
        self.picture = Picture(0.0)
        """What is shown."""

    def compose(self) -> ComposeResult:
        """Head, states beside who is at work, runs, failures beside launches."""
        yield Static(id="head")
        with Horizontal(id="upper"):
            yield Static(id="states")
            yield Static(id="workers")
        yield DataTable(id="runs", cursor_type="row")
        with Horizontal(id="lower"):
            yield DataTable(id="causes", cursor_type="row")
            yield DataTable(id="launches", cursor_type="row")
        yield Input(placeholder="workflow: exact, or a glob with * or ?; empty: all", id="filter")
        yield Footer()

    def on_mount(self) -> None:
        """Begins to look."""
        for name, columns in (("runs", _RUN_COLUMNS), ("causes", _CAUSE_COLUMNS), ("launches", _LAUNCH_COLUMNS)):
            self._table(name).add_columns(*columns)
        self._table("runs").focus()
        self._draw()
        self.set_interval(1.0, self._draw_runs)
        threading.Thread(target=self._look, name="top", daemon=True).start()

    def on_unmount(self) -> None:
        """Looks no more."""
        self._leaving.set()
        self._observer.close()

    def _look(self) -> None:
        while not self._leaving.is_set():
            try:
                picture = self._observer.next(_PATIENCE)
            except BalsamError as error:
                self.post_message(Trouble(error, over=self._observer.is_over))
                if self._observer.is_over:
                    return
                self._leaving.wait(_PATIENCE)
                self._observer.look_again()
                continue
            if picture is not None:
                self.post_message(Seen(picture))

    @on(Seen)
    def _show(self, message: Seen) -> None:
        self.picture, self._trouble = message.picture, ""
        self._by_second = self._rates.add(message.picture)
        self._draw()

    @on(Trouble)
    def _tell(self, message: Trouble) -> None:
        if message.over:
            self.exit(message.error)
        self._trouble = str(message.error)
        self._draw_head()

    # What is drawn

    def _draw(self) -> None:
        self._draw_head()
        self.query_one("#states", Static).update(self._states())
        self.query_one("#workers", Static).update(self._at_work())
        self._draw_runs()
        causes = self._table("causes")
        causes.border_title = "Failed lately, by cause"
        _fill(
            causes,
            [(one.example, _texts(f"{one.jobs:,}", one.example[:8], one.text)) for one in self.picture.causes],
        )
        launches = self._table("launches")
        launches.border_title = "Launches"
        _fill(
            launches,
            [
                (
                    str(one.launch_id),
                    _texts(one.launch_id, one.state, one.nodes, one.wall_minutes, one.queue, one.takes, one.message),
                )
                for one in self.picture.launches
            ],
        )

    def _draw_head(self) -> None:
        text = Text(f"{one_line(str(self._store.site.path))}   {count(self.picture.total, 'job')}")
        if self._observer.workflow:
            text.append(f"   of workflow {one_line(self._observer.workflow)}", "cyan")
        ends = self._by_second.get("JOB_FINISHED", 0.0)
        text.append(f"   {ends:,.1f} finish a second")
        if self._trouble:
            text.append(f"   {one_line(self._trouble)}", "red")
        self.query_one("#head", Static).update(text)

    def _states(self) -> Text:
        text = Text()
        width = min(_MOST_BAR, max(_LEAST_BAR, self.size.width // 2 - _BESIDE_BAR))
        for row in rows(self.picture.counts, self._by_second):
            style = state_style({"state": row.state})
            text.append(f"{row.state:16} {row.jobs:>9,} ", style)
            text.append(bar(row.jobs, self.picture.total, width), style or "grey62")
            text.append(f" {row.rate:,.1f}/s\n" if row.rate else "\n")
        text.rstrip()
        return text

    def _at_work(self) -> Text:
        text = Text()
        if not any(one.kind == "scheduler" for one in self.picture.workers) and self.picture.time:
            text.append("no scheduler; start it with `balsam up`\n", "red")
        for one in self.picture.workers[:12]:
            text.append(f"{one.kind} ", "green")
            text.append(f"{one_line(one.place)}  {one_line(one.text)}\n")
        if not any(one.kind == "launcher" for one in self.picture.workers) and self.picture.time:
            text.append("no launcher; start one with `balsam launcher`\n", "yellow")
        if len(self.picture.workers) > 12:
            text.append(f"... {len(self.picture.workers) - 12:,} more\n")
        text.rstrip()
        return text

    def _draw_runs(self) -> None:
        table = self._table("runs")
        more = f", {MOST_RUNS:,} shown" if self.picture.running > len(self.picture.runs) else ""
        table.border_title = f"Running: {self.picture.running:,}{more}, by {self._sort}"
        now = datetime.datetime.now(datetime.UTC)
        _fill(
            table,
            [
                (
                    run.job_id,
                    _texts(
                        run.job_id[:8],
                        run.name,
                        run.workflow,
                        run.application,
                        run.node,
                        since(run.start_time, now),
                    ),
                )
                for run in sorted_runs(self.picture.runs, self._sort)
            ],
        )

    def _table(self, name: str) -> DataTable[Text]:
        return self.query_one(f"#{name}", DataTable)

    # What keys do

    def action_filter(self) -> None:
        """Asks for a workflow."""
        asked = self.query_one("#filter", Input)
        asked.add_class("asked")
        asked.value = self._observer.workflow
        asked.focus()

    @on(Input.Submitted, "#filter")
    def _filtered(self, event: Input.Submitted) -> None:
        event.input.remove_class("asked")
        self._table("runs").focus()
        self._observer.workflow = event.value.strip()
        self._rates.clear()
        self._observer.look_again()

    def action_sort(self) -> None:
        """Sorts runs by the next column."""
        self._sort = SORTS[(SORTS.index(self._sort) + 1) % len(SORTS)]
        self._draw_runs()

    def action_output(self) -> None:
        """Opens the output of the job under the cursor."""
        job_id = self._chosen()
        if job_id:
            self.push_screen(Output(self._store, job_id))

    @on(DataTable.RowSelected)
    def _entered(self, event: DataTable.RowSelected) -> None:
        if event.data_table.id != "launches" and event.row_key.value:
            self.push_screen(Output(self._store, event.row_key.value))

    def action_kill(self) -> None:
        """Kills the job under the cursor, after a question."""
        run = next((run for run in self.picture.runs if run.job_id == self._chosen()), None)
        if run is None:
            self.notify("choose a job that runs", severity="warning")
            return
        job_id = run.job_id

        def answered(yes: bool | None) -> None:
            if yes:
                threading.Thread(target=self._kill, args=(job_id,), name="kill", daemon=True).start()

        self.push_screen(Question(f"Kill {run.name} ({job_id[:8]})?"), answered)

    def _kill(self, job_id: str) -> None:
        try:
            self._store.jobs.kill([job_id], message="by balsam top")
            self.post_message(Done(f"killed {job_id[:8]}"))
        except BalsamError as error:
            self.post_message(Done(str(error), refused=True))
        self._observer.look_again()

    @on(Done)
    def _tell_done(self, message: Done) -> None:
        self.notify(one_line(message.text), severity="error" if message.refused else "information", markup=False)

    def _chosen(self) -> str:
        """The job under the cursor: of runs, or the example of a cause; empty: none."""
        table = self._table("causes" if self._table("causes").has_focus else "runs")
        if not table.row_count:
            return ""
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value or ""


def _texts(*values: object) -> list[Text]:
    """Cells: what jobs are called must not steer the terminal, nor be read as markup."""
    return [Text(one_line(str(value)), no_wrap=True) for value in values]


def _fill(table: DataTable[Text], wanted: Sequence[Cells]) -> None:
    """Makes a table hold these rows; the cursor stays on its row, and what is seen where it was."""
    if [key.value for key in table.rows] == [key for key, _ in wanted]:
        _refresh(table, wanted)
        return
    top, at = table.scroll_y, _key_at_cursor(table)
    table.clear()
    for key, cells in wanted:
        table.add_row(*cells, key=key)
    if at is not None and at in table.rows:
        table.move_cursor(row=table.get_row_index(at), scroll=False)
    table.scroll_to(y=top, animate=False)


def _refresh(table: DataTable[Text], wanted: Sequence[Cells]) -> None:
    columns = list(table.columns)
    for key, cells in wanted:
        for column, cell in zip(columns, cells, strict=True):
            if table.get_cell(key, column) != cell:
                table.update_cell(key, column, cell, update_width=True)


def _key_at_cursor(table: DataTable[Text]) -> str | None:
    if not table.row_count:
        return None
    return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value
