"""The wheel: it installs into an empty environment, with nothing of the checkout near, and has everything in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

import reluscope as rs
from reluscope.entries import KINDS

ROOT = Path(__file__).parents[2]
SOURCES = {
    "reluscope": ROOT / "core",
    "reluscope_plugins": ROOT / "plugins",
    "reluscope_catalog": ROOT / "catalog",
}

pytestmark = pytest.mark.packaging


def call(*command: str | Path, cwd: Path) -> str:
    """Run a command that must succeed, outside the checkout and without its variables, and return what it prints."""
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME"}}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source distribution, and from it the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an empty environment and install the wheel there, with what it depends on."""
    folder = tmp_path_factory.mktemp("empty")
    call(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    pip = ["-m", "pip", "--disable-pip-version-check", "--retries", "10", "--timeout", "60"]
    call(python, *pip, "install", "--quiet", wheel, cwd=folder)
    return folder


def test_every_source_and_data_file_is_in_the_wheel(wheel: Path) -> None:
    inside = {PurePosixPath(name) for name in zipfile.ZipFile(wheel).namelist()}
    expected = {
        PurePosixPath(path.relative_to(root).as_posix())
        for package, root in SOURCES.items()
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected
    assert {path for path in expected if path.name == "py.typed"} == {PurePosixPath(p, "py.typed") for p in SOURCES}
    assert any(path.suffix == ".toml" for path in expected), "no recipe"
    assert expected <= inside, f"left out of the wheel: {sorted(map(str, expected - inside))}"


def test_nothing_else_is_in_the_wheel(wheel: Path) -> None:
    tops = {PurePosixPath(name).parts[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(SOURCES)


def test_installed_alone_it_lists_its_entries(environment: Path) -> None:
    lab = rs.Lab()
    ours = {plugin.name for plugin in lab.plugins if plugin.distribution == "reluscope"}
    expected = {(kind, name) for kind in KINDS for name in lab.shelf(kind) if lab.origin(kind, name).name in ours}
    assert expected
    printed = call(environment / "venv" / "bin" / "reluscope", "list", "--json", cwd=environment)
    listed = [json.loads(line) for line in printed.splitlines()]
    plural = {entry_type.kind: kind for kind, entry_type in KINDS.items()}
    assert {(plural.get(row["kind"], row["kind"]), row["name"]) for row in listed} == expected


def test_installed_alone_its_plugins_all_load(environment: Path) -> None:
    printed = call(environment / "venv" / "bin" / "reluscope", "plugins", "--json", cwd=environment)
    found = [json.loads(line) for line in printed.splitlines()]
    assert {row["name"] for row in found} == {p.name for p in rs.Lab().plugins if p.distribution == "reluscope"}
    assert not [row["traceback"] for row in found if row["traceback"]]


def test_installed_alone_it_trains(environment: Path) -> None:
    out = environment / "quickstart.nc"
    script = environment / "venv" / "bin" / "reluscope"
    call(script, "run", "quickstart", "--scale", "small", "--out", out, cwd=environment)
    assert out.is_file()
