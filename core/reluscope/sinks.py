"""Sinks: plugins that hear what a run records, on a thread of their own, so that they never block or end a run."""

from __future__ import annotations

import queue
import threading
import warnings
from types import TracebackType
from typing import TYPE_CHECKING

from reluscope.registry import PluginWarning

if TYPE_CHECKING:
    from reluscope.context import Record
    from reluscope.lab import Lab


class Sinks:
    """Delivers records to the hook `reluscope_record` of every plugin that has one.

    An error in a sink becomes one warning that names the plugin, and the sink hears nothing more; records that a slow
    sink has no room for are dropped, and counted in a warning at the end.

    Args:
        lab: Whose plugins are told.
        capacity: How many records may wait.
        patience: Seconds that the end of a run waits for a slow sink.
    """

    def __init__(self, lab: Lab, *, capacity: int = 1000, patience: float = 2.0) -> None:
        hooks = lab.registry.manager.hook.reluscope_record.get_hookimpls()
        self._listeners = {hook.plugin_name: hook for hook in hooks}
        self._queue: queue.Queue[Record | None] = queue.Queue(capacity)
        self._patience = patience
        self._dropped = 0
        self._broken: dict[str, Exception] = {}
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Sinks:
        if self._listeners:
            self._thread = threading.Thread(target=self._deliver, name="reluscope-sinks", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        try:
            self._queue.put(None, timeout=self._patience)
            self._thread.join(self._patience)
        except queue.Full:
            pass  # a sink that hangs is left behind: its thread is a daemon
        late = self._thread.is_alive()
        for name, reason in self._broken.items():
            warnings.warn(
                f"plugin {name!r}: reluscope_record raised {type(reason).__name__}: {reason}; it hears nothing more",
                PluginWarning,
                stacklevel=2,
            )
        missed = self._dropped + (self._queue.qsize() if late else 0)
        if missed or late:
            warnings.warn(
                f"plugins {', '.join(map(repr, self._listeners))}: reluscope_record could not keep up and missed "
                f"{missed} records; the archive has them all",
                PluginWarning,
                stacklevel=2,
            )

    def send(self, record: Record) -> None:
        """Hand over a record without waiting.

        Args:
            record: What was recorded.
        """
        if self._thread is None:
            return
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self._dropped += 1

    def _deliver(self) -> None:
        while (record := self._queue.get()) is not None:
            for name, listener in self._listeners.items():
                if name in self._broken:
                    continue
                try:
                    listener.function(*([record] if listener.argnames else []))
                except Exception as error:  # whatever a sink raises is reported at the end and must not end the run
                    self._broken[name] = error
