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
        self.unit, self.costs, self.done = unit, costs, done
        self._first = self._begin = done
        self._started = time.monotonic()  # the pace is that of the units after `_begin`, since then

    def advance(self, text: str) -> None:
        """Prints that another unit is done: `text`, how many of how many, and the ETA."""
        self.done += 1
        now = time.monotonic()
        pace = (now - self._started) / sum(self.costs[self._begin : self.done])
        remaining = pace * sum(self.costs[self.done :])
        print(
            f"{text}: {self.unit} {self.done}/{len(self.costs)}, ETA {remaining:.0f} s",
            file=sys.stderr,
            flush=True,
        )
        if self._begin == self._first:
            self._begin, self._started = self.done, now
