"""Progress on stderr: a bar on a terminal; elsewhere a line a step, and more of long ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from headgate.cli.output import stderr

__all__ = ["Progress"]

_SILENT_S = 30.0
"""Off a terminal: whoever reads a log should see that a long step goes on, and not every one."""


class Progress:
    """Told of each step as it begins (``start``) and of how far it is (``update``)."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = stderr()
        self._bar = Bar(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[detail]}[/]"),
            console=self._console,
        )
        self._task: TaskID | None = None
        self._clock = clock
        self._began = self._said = clock()
        self._step = ""

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._finish()
        if self._console.is_terminal:
            self._bar.stop()

    def start(self, name: str, detail: str = "") -> None:
        """A step begins; the one before it is done."""
        self._finish()
        if not self._console.is_terminal:
            self._step = name
            self._say(detail)
            return
        self._task = self._bar.add_task(name, total=1.0, detail=detail)

    def update(self, share: float, detail: str = "") -> None:
        """``share`` (0 to 1) of the step is done."""
        if self._task is not None:
            self._bar.update(self._task, completed=share, detail=detail)
        elif self._step and self._clock() - self._said >= _SILENT_S:
            self._say(f"{share:.0%}  {detail}")

    def _say(self, what: str) -> None:
        """A line of its own, with the seconds since all of it began."""
        self._said = self._clock()
        elapsed_s = self._said - self._began
        line = f"[{elapsed_s:6.1f} s] {self._step}  {what}".rstrip()
        self._console.print(line, soft_wrap=True)

    def _finish(self) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=1.0)
            self._task = None
