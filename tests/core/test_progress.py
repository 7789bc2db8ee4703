from __future__ import annotations

import io
import subprocess
import sys

from reluscope.progress import BarProgress, Progress, SilentProgress


def go(progress: Progress) -> None:
    progress.advance()  # before the start: harmless
    progress.start("Training", 3.0)
    progress.advance(1.5)
    progress.message("seed [0]")
    progress.advance(1.5)
    progress.finish()
    progress.finish()


def test_silent_progress_takes_everything() -> None:
    go(SilentProgress())


def test_bar_is_for_terminals_only() -> None:
    stream = io.StringIO()
    go(BarProgress(stream))
    assert stream.getvalue() == ""


def test_forced_bar_says_how_far_and_how_long() -> None:
    stream = io.StringIO()
    go(BarProgress(stream, force=True))
    for words in ("Training", "100%", "left", "seed [0]"):
        assert words in stream.getvalue()


def test_rich_is_imported_only_to_draw() -> None:
    script = "import sys, reluscope.progress as p; p.BarProgress().shown; assert 'rich' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
