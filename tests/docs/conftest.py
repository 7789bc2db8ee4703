"""How the tests read the documentation's pages."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FENCE = re.compile(
    r"^(?P<fence>`{3,}|:{3,})(?P<info>[^\n]*)\n(?P<body>.*?)^(?P=fence)[ \t]*$", re.MULTILINE | re.DOTALL
)


def _blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if match["info"].strip().removeprefix("{code-block} ") == language:
            yield text.count("\n", 0, match.start("body")) + 1, match["body"]


@contextmanager
def _running(page: Path) -> Iterator[types.ModuleType]:
    import torch

    module = types.ModuleType(f"snippets_of_{page.stem.lower()}")
    sys.modules[module.__name__] = module
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for line, body in _blocks(page, "python"):
                # Blank lines in front, so that a traceback shows the page's own line.
                exec(compile("\n" * (line - 1) + body, str(page), "exec"), module.__dict__)
        yield module
    finally:
        del sys.modules[module.__name__]


@pytest.fixture(scope="session")
def blocks() -> Callable[[Path, str], Iterator[tuple[int, str]]]:
    """Yields each fenced block of one language, with the number of the line that it starts on."""
    return _blocks


@pytest.fixture
def run_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], types.ModuleType]]:
    """Runs a page's Python blocks in their order, as one module, in a folder of its own."""
    from contextlib import ExitStack

    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:
        yield lambda page: stack.enter_context(_running(page))
