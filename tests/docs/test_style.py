"""The repository speaks of itself only: no path of anybody's machine, no host to fetch from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import reluscope as rs

ROOT = Path(__file__).parents[2]
# Put together here, so that this file does not find itself.
FORBIDDEN = [
    "/wo" + "rk/",
    "/ro" + "ot/",
    "pypi" + ".org/simple",
    "files." + "pythonhosted",
    "--index" + "-url",
]
BINARY = {".png", ".nc", ".npz", ".gz"}
PACKAGES = ["core", "plugins", "catalog"]


def tracked() -> list[Path]:
    """All files that git tracks."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_no_file_names_a_machine() -> None:
    found = []
    for path in tracked():
        if path.suffix in BINARY:
            continue
        text = path.read_text(encoding="utf-8")
        found += [f"{path.relative_to(ROOT)}: {word}" for word in FORBIDDEN if word in text]
    assert not found


def test_source_roots_hold_packages_only() -> None:
    for root in PACKAGES:
        entries = {path.name for path in (ROOT / root).iterdir() if path.name != "__pycache__"}
        stray = {name for name in entries if not (ROOT / root / name / "__init__.py").is_file()}
        assert not stray, f"{root}/ is on the import path, so {sorted(stray)} would be importable; move it"


def test_no_module_hides_a_public_name() -> None:
    # Importing reluscope.metric would put the module in the place of the decorator.
    modules = {path.stem for path in (ROOT / "core" / "reluscope").iterdir()}
    assert not modules & set(rs.__all__)
