"""Progress on stderr: a bar on a terminal, a line a step elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from headgate.cli.output import stderr

__all__ = ["Progress"]


class Progress:
    """Told of each step as it begins (``start``) and of how far it is (``update``)."""

    def __init__(self) -> None:
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
        self._began = time.monotonic()

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
            elapsed = time.monotonic() - self._began
            self._console.print(f"[{elapsed:6.1f} s] {name}  {detail}".rstrip(), soft_wrap=True)
            return
        self._task = self._bar.add_task(name, total=1.0, detail=detail)

    def update(self, share: float, detail: str = "") -> None:
        """``share`` (0 to 1) of the step is done."""
        if self._task is not None:
            self._bar.update(self._task, completed=share, detail=detail)

    def _finish(self) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=1.0)
            self._task = None
