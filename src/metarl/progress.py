"""Progress of long work: one line on stderr a unit of it, with the time that the rest will take."""

import sys
import time
from collections.abc import Hashable, Sequence


def announce(text: str) -> None:
    """A line on stderr, at once."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """The ETA of units of work, from the pace of those done in this process.

    A unit that compiles says nothing of the others' pace. It is left out wherever another one is
    known; so is the first one always, after which there is no ETA yet.

    Args:
      unit: what a unit of work is called.
      costs: of every unit, in proportion, those done before included.
      done: how many were done before, by a process that was interrupted.
      shapes: what every unit is compiled for, by the first one of each shape; None: nothing is.
    """

    def __init__(
        self,
        unit: str,
        costs: Sequence[float],
        done: int = 0,
        shapes: Sequence[Hashable] | None = None,
    ):
        self.unit, self.costs, self.done = unit, costs, done
        self._shapes, self._compiled = shapes, set()
        self._first, self._remaining = done, sum(costs[done:])
        # seconds and costs of the units after the first one, and of those that compiled nothing
        self._others, self._warm = (0.0, 0.0), (0.0, 0.0)
        self._last = time.monotonic()
        if shapes is not None and done < len(costs):
            announce(f"compiling for the first {unit} ...")

    def advance(self, text: str) -> None:
        """Prints that another unit is done: `text`, how many of how many, and the ETA."""
        now, cost = time.monotonic(), self.costs[self.done]
        if self.done > self._first:
            seconds = now - self._last
            self._others = (self._others[0] + seconds, self._others[1] + cost)
            if self._shapes is None or self._shapes[self.done] in self._compiled:
                self._warm = (self._warm[0] + seconds, self._warm[1] + cost)
        if self._shapes is not None:
            self._compiled.add(self._shapes[self.done])
        self._last, self._remaining = now, self._remaining - cost
        self.done += 1
        announce(f"{text}: {self.unit} {self.done}/{len(self.costs)}{self._eta()}")

    def _eta(self) -> str:
        """The time for the rest, in words; nothing where no pace is known."""
        seconds, cost = self._warm if self._warm[1] else self._others
        if self.done == len(self.costs) or not cost:
            return ""
        return f", ETA {seconds / cost * self._remaining:.0f} s"
