"""Progress: how a long piece of work says how far it is, and who shows it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichBar
    from rich.progress import TaskID


class Progress(Protocol):
    """What a long piece of work reports to.

    The work calls `start` once, `advance` as it goes, and `finish` at the end, also when it fails.
    """

    def start(self, description: str, total: float) -> None:
        """Begin.

        Args:
            description: What is being done, in a few words.
            total: How much work there is, in any unit.
        """

    def advance(self, n: float = 1.0) -> None:
        """Report work as done.

        Args:
            n: How much, since the last call.
        """

    def message(self, text: str) -> None:
        """Say in a few words what is being done right now.

        Args:
            text: For example the point of the sweep.
        """

    def finish(self) -> None:
        """End; harmless when called twice or before `start`."""


class SilentProgress:
    """Shows nothing: the default of everything that is called from Python."""

    def start(self, description: str, total: float) -> None:
        """Do nothing.

        Args:
            description: Unused.
            total: Unused.
        """

    def advance(self, n: float = 1.0) -> None:
        """Do nothing.

        Args:
            n: Unused.
        """

    def message(self, text: str) -> None:
        """Do nothing.

        Args:
            text: Unused.
        """

    def finish(self) -> None:
        """Do nothing."""


class BarProgress:
    """A bar with the share done, the time passed and the time left.

    Args:
        stream: Where the bar goes. None is standard error, so that standard output holds results only.
        force: Show it even where the stream is no terminal.
    """

    def __init__(self, stream: TextIO | None = None, *, force: bool = False) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._force = force
        self._bar: RichBar | None = None
        self._task: TaskID | None = None

    @property
    def shown(self) -> bool:
        """Whether there is anybody to look at it."""
        return self._force or self._stream.isatty()

    def start(self, description: str, total: float) -> None:
        """Begin, and show the bar.

        Args:
            description: What is being done.
            total: How much work there is, in any unit.
        """
        self.finish()
        if not self.shown:
            return
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichBar

        columns: tuple[Any, ...] = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            TaskProgressColumn(),
            TextColumn("passed", style="dim"),
            TimeElapsedColumn(),
            TextColumn("left", style="dim"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False, style="dim"),
        )
        console = Console(file=self._stream, force_terminal=True if self._force else None)
        self._bar = RichBar(*columns, console=console, speed_estimate_period=60.0)
        self._bar.start()
        self._task = self._bar.add_task(description, total=total, note="")

    def advance(self, n: float = 1.0) -> None:
        """Move the bar.

        Args:
            n: How much work was done since the last call.
        """
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, n)

    def message(self, text: str) -> None:
        """Show a note at the end of the bar.

        Args:
            text: The note.
        """
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, note=text)

    def finish(self) -> None:
        """Stop the bar and leave its last state on the screen."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = None
