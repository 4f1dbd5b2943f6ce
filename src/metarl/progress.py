"""Progress of long work: one line on stderr a unit of it, with the time that the rest will take."""

import sys
import time
from collections.abc import Sequence


class Progress:
    """The ETA of units of work, from the pace of those done in this process.

    The first unit compiles; its time says nothing of the others' and is left out as soon as there
    is another one.

    Args:
      unit: what a unit of work is called.
      costs: of every unit, in proportion, those done before included.
      done: how many were done before, by a process that was interrupted.
    """

    def __init__(self, unit: str, costs: Sequence[float], done: int = 0):
        self.unit = unit
        self.costs, self.first, self.done = costs, done, done
        self._started = self._after_first = time.monotonic()

    def advance(self, text: str) -> None:
        """Prints that another unit is done: `text`, how many of how many, and the ETA."""
        self.done += 1
        now = time.monotonic()
        if self.done == self.first + 1:
            self._after_first = now
        compiled = self.done > self.first + 1
        started, begin = (
            (self._after_first, self.first + 1) if compiled else (self._started, self.first)
        )
        pace = (now - started) / sum(self.costs[begin : self.done])
        remaining = pace * sum(self.costs[self.done :])
        print(
            f"{text}: {self.unit} {self.done}/{len(self.costs)}, ETA {remaining:.0f} s",
            file=sys.stderr,
            flush=True,
        )
