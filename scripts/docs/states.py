"""The picture and the table of the states, from the table that the services check every move against.

python -m scripts.docs.states    writes docs/img/states.svg anew
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from balsam.states import ACTIVE, END, RUNNABLE, TRANSITIONS, Actor, State
from scripts.docs.protos import cell, comments

PICTURE = Path(__file__).parents[2] / "docs" / "img" / "states.svg"

_ACTORS = (Actor.LAUNCHER, Actor.SCHEDULER, Actor.JOBSTORE)
"""Who moves jobs by rules; an arrow has the colour of the first of these that may make the move."""
_COLOURS = {Actor.SCHEDULER: "#1565c0", Actor.LAUNCHER: "#2e7d32", Actor.JOBSTORE: "#b35c00"}
_FROM_EVERYWHERE = (State.FAILED, State.USER_KILLED)

_COLUMNS = (120, 350, 580)
_TOP, _ROW, _WIDTH, _HEIGHT = 36, 66, 150, 32
_PLACES: dict[State, tuple[int, float]] = {
    State.CREATED: (1, 0),
    State.READY: (1, 1),
    State.AWAITING_PARENTS: (0, 1.5),
    State.STAGED_IN: (1, 2),
    State.PREPROCESSED: (1, 3),
    State.RESTART_READY: (2, 3),
    State.RUNNING: (1, 4),
    State.RUN_TIMEOUT: (2, 4),
    State.RUN_DONE: (1, 5),
    State.RUN_ERROR: (2, 5),
    State.POSTPROCESSED: (1, 6),
    State.FAILED: (0, 7),
    State.JOB_FINISHED: (1, 7),
    State.USER_KILLED: (2, 7),
}
"""State -> column, row."""
_AROUND = {(State.RUN_ERROR, State.RESTART_READY)}
"""Arrows that go around on the right, past what lies between."""


@dataclass(frozen=True)
class Move:
    """An arrow of the picture."""

    source: State
    target: State
    actor: Actor


def moves() -> Iterator[Move]:
    """The moves that Balsam itself makes, but for those that are possible everywhere.

    Raises:
        ValueError: what the picture says of all states is not so for one of them.
    """
    for target in _FROM_EVERYWHERE:
        by = Actor.SCHEDULER if target is State.FAILED else Actor.USER
        without = [state.name for state in State if state not in END and target not in TRANSITIONS[by][state]]
        if without:
            raise ValueError(f"{target.name} cannot be reached from {without}: the picture says otherwise")
    for source in State:
        for target in State:
            actors = [actor for actor in _ACTORS if target in TRANSITIONS[actor][source]]
            if actors and target is not source and target not in _FROM_EVERYWHERE:
                yield Move(source, target, actors[0])


def picture() -> str:
    """The picture, as SVG."""
    height = _TOP + 7 * _ROW + 106
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {height}" width="700" height="{height}" role="img" '
        'aria-labelledby="title" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13">',
        '<title id="title">The states of a job, and who moves it from one to the next</title>',
        f'<rect width="700" height="{height}" rx="8" fill="#ffffff"/>',
        "<defs>",
        *(_arrow_head(actor) for actor in _ACTORS),
        "</defs>",
        *(_arrow(move) for move in moves()),
        *(_box(state) for state in State),
        *_legend(height),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def table() -> str:
    """The states, what they mean, and where a job may go from each, as Markdown."""
    said = comments("job.proto")
    lines = ["| state | what it means | goes on to | moved by |", "| --- | --- | --- | --- |"]
    for state in State:
        found = {move.target.name: move.actor for move in moves() if move.source is state}
        targets = ", ".join(f"`{name}`" for name in found)
        by = ", ".join(dict.fromkeys(_title(actor) for actor in found.values()))
        lines.append(f"| `{state.name}` | {cell(said[f'Job.State.{state.name}'])} | {targets} | {by} |")
    return "\n".join(lines) + "\n"


def _title(actor: Actor) -> str:
    return {Actor.SCHEDULER: "scheduler", Actor.LAUNCHER: "launcher", Actor.JOBSTORE: "job store"}[actor]


def _centre(state: State) -> tuple[float, float]:
    column, row = _PLACES[state]
    return _COLUMNS[column], _TOP + row * _ROW


def _arrow_head(actor: Actor) -> str:
    return (
        f'<marker id="{actor.name.lower()}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0L10 5L0 10z" fill="{_COLOURS[actor]}"/></marker>'
    )


def _arrow(move: Move) -> str:
    path = _around(move) if (move.source, move.target) in _AROUND else _straight(move)
    return (
        f'<path d="{path}" fill="none" stroke="{_COLOURS[move.actor]}" stroke-width="1.6" '
        f'marker-end="url(#{move.actor.name.lower()})"><title>{move.source.name} to {move.target.name}</title></path>'
    )


def _around(move: Move) -> str:
    (x, y1), (_, y2) = _centre(move.source), _centre(move.target)
    x += _WIDTH / 2
    return f"M{x:.0f} {y1:.0f}C{x + 40:.0f} {y1:.0f} {x + 40:.0f} {y2:.0f} {x:.0f} {y2:.0f}"


def _straight(move: Move) -> str:
    (x1, y1), (x2, y2) = _centre(move.source), _centre(move.target)
    length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
    # Of two opposite moves each keeps to its right.
    aside = 6 if any(other.source is move.target and other.target is move.source for other in moves()) else 0
    dx, dy = -(y2 - y1) / length * aside, (x2 - x1) / length * aside
    start, end = _at_border(x1, y1, x2, y2), _at_border(x2, y2, x1, y1)
    return f"M{start[0] + dx:.0f} {start[1] + dy:.0f}L{end[0] + dx:.0f} {end[1] + dy:.0f}"


def _at_border(x1: float, y1: float, x2: float, y2: float) -> tuple[float, float]:
    """Where the line from the middle of a box to another point leaves the box."""
    ways = [half / abs(way) for half, way in ((_WIDTH / 2, x2 - x1), (_HEIGHT / 2, y2 - y1)) if way]
    part = min(ways)
    return x1 + (x2 - x1) * part, y1 + (y2 - y1) * part


def _box(state: State) -> str:
    x, y = _centre(state)
    fill, border = "#f3f4f6", "#6b7280"
    if state in END:
        fill, border = ("#e6f4ea", "#2e7d32") if state is State.JOB_FINISHED else ("#fdecea", "#b3261e")
    elif state in ACTIVE | RUNNABLE:
        fill, border = "#e8f0fe", "#1565c0"
    dash = ' stroke-dasharray="5 3"' if state in _FROM_EVERYWHERE else ""
    return (
        f'<rect x="{x - _WIDTH / 2:.0f}" y="{y - _HEIGHT / 2:.0f}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" '
        f'fill="{fill}" stroke="{border}" stroke-width="1.4"{dash}/>'
        f'<text x="{x:.0f}" y="{y + 4.5:.1f}" text-anchor="middle" fill="#111827">{state.name}</text>'
    )


def _legend(height: int) -> Iterator[str]:
    names = {Actor.SCHEDULER: "by the scheduler", Actor.LAUNCHER: "by a launcher", Actor.JOBSTORE: "by the job store"}
    y = height - 52
    for number, (actor, name) in enumerate(names.items()):
        x = 60 + 210 * number
        yield (
            f'<path d="M{x} {y}h28" stroke="{_COLOURS[actor]}" stroke-width="1.6" '
            f'marker-end="url(#{actor.name.lower()})"/>'
            f'<text x="{x + 36}" y="{y + 4.5}" fill="#111827">{name}</text>'
        )
    note = "Dashed: from every state that is no end; FAILED when a step fails, USER_KILLED by a user."
    yield f'<text x="350" y="{height - 20}" text-anchor="middle" font-size="12" fill="#374151">{note}</text>'


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(picture())
