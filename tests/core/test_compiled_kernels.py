"""What is compiled is kept on disk, and compiled anew when the code that it holds was changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

INNER = """
from reluscope.kernels import compiled

@compiled
def inner(x):
    return x + {added}
"""
MIDDLE = """
from inner_kernel import inner
from reluscope.kernels import compiled

@compiled
def middle(x):
    return 10 * inner(x)
"""
OUTER = """
from middle_kernel import middle
from reluscope.kernels import compiled

@compiled
def outer(x):
    return middle(x)

print(outer(1), sum(outer.stats.cache_hits.values()))
"""


def run(folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}
    found = subprocess.run(
        [sys.executable, folder / "outer_kernel.py"], env=environment, capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def test_a_changed_function_that_is_called_two_files_away_is_compiled_anew(tmp_path: Path) -> None:
    (tmp_path / "inner_kernel.py").write_text(INNER.format(added=1), encoding="utf-8")
    (tmp_path / "middle_kernel.py").write_text(MIDDLE, encoding="utf-8")
    (tmp_path / "outer_kernel.py").write_text(OUTER, encoding="utf-8")
    assert run(tmp_path) == "20 0"
    assert run(tmp_path) == "20 1"  # taken from disk
    (tmp_path / "inner_kernel.py").write_text(INNER.format(added=100), encoding="utf-8")
    assert run(tmp_path) == "1010 0"
    assert run(tmp_path) == "1010 1"
