"""How many jobs a launch can run before its time is over: an estimate by shelves. Pure.

The time of a launch is cut into shelves, one after the other, each as long as the jobs that it was opened for and as
wide as the launch. Shorter jobs are stacked in what is left of a shelf. That is a schedule which a launcher can keep
to, so that what was placed finishes if jobs take as long as they say; a launcher, which fills gaps as they come,
mostly does a little better. Source: E. G. Coffman, M. R. Garey, D. S. Johnson, R. E. Tarjan, "Performance Bounds for
Level-Oriented Two-Dimensional Packing Algorithms", SIAM J. Comput. 9 (1980), 808-826.
"""

from __future__ import annotations

from fractions import Fraction

from balsam_scheduler.batch.work import Shape


class Packing:
    """The nodes and minutes of one launch, filled job by job.

    Args:
        nodes: its nodes.
        minutes: what is left of its time [min]; less than 1: nothing fits.
        job_mode: ``auto``, ``mpi`` or ``serial``.
    """

    def __init__(self, nodes: int, minutes: int, job_mode: str = "auto") -> None:
        self.nodes = nodes
        self.minutes = minutes
        self._job_mode = job_mode
        self._left = minutes
        self._shelves: dict[tuple[int, Fraction], int] = {}
        """Minutes and free nodes of a shelf -> how many there are."""

    def holds(self, shape: Shape) -> bool:
        """Whether one such job fits while nothing else is there."""
        right_mode = shape.serial or self._job_mode != "serial"
        return right_mode and shape.nodes <= self.nodes and shape.minutes <= self.minutes

    def put(self, shape: Shape, count: int) -> int:
        """Places up to so many jobs of a shape. Returns how many found room."""
        if count <= 0 or not self.holds(shape):
            return 0
        width = shape.width(self._job_mode)
        left = count
        for (minutes, free), number in list(self._shelves.items()):
            if minutes >= shape.minutes and free >= width and left:
                left -= self._fill(minutes, free, number, shape.minutes, width, left)
        return count - left + self._open(shape.minutes, width, left)

    def _fill(self, minutes: int, free: Fraction, number: int, each: int, width: Fraction, count: int) -> int:
        """Places jobs of `each` minutes in shelves that are there. Returns how many."""
        stack = minutes // each  # one after the other
        columns = free // width
        whole = min(number, count // (stack * columns))
        self._take((minutes, free), whole, columns * width)
        placed = whole * stack * columns
        rest = count - placed
        if rest and whole < number:
            self._take((minutes, free), 1, -(-rest // stack) * width)
            placed += rest
        return placed

    def _open(self, minutes: int, width: Fraction, count: int) -> int:
        """Places jobs in shelves of their own. Returns how many."""
        columns = self.nodes // width
        new = min(self._left // minutes, -(-count // columns))
        if new <= 0:
            return 0
        self._left -= new * minutes
        shelf = (minutes, Fraction(self.nodes))
        self._shelves[shelf] = self._shelves.get(shelf, 0) + new
        return self._fill(*shelf, new, minutes, width, min(count, new * columns))

    def _take(self, shelf: tuple[int, Fraction], number: int, width: Fraction) -> None:
        """Takes so many nodes from so many of the shelves that are alike."""
        if not number:
            return
        left = self._shelves.pop(shelf) - number
        if left:
            self._shelves[shelf] = left
        minutes, free = shelf
        if free > width:
            rest = (minutes, free - width)
            self._shelves[rest] = self._shelves.get(rest, 0) + number
