from __future__ import annotations

import getpass
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from reluscope import provenance
from reluscope.registry import Plugin


def test_it_says_what_is_needed_to_run_again() -> None:
    plugins = [Plugin("b", "pkg.b", "dist-b", "2.1"), Plugin("a", "pkg.a", "dist-a", "1.0")]
    found = provenance.collect(recipe={"title": "é", "epochs": 3}, seeds=[0, 1], plugins=plugins)
    assert found["recipe"] == {"title": "é", "epochs": 3}
    assert found["seeds"] == [0, 1]
    assert found["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert found["plugins"] == [
        {"name": "a", "module": "pkg.a", "distribution": "dist-a", "version": "1.0"},
        {"name": "b", "module": "pkg.b", "distribution": "dist-b", "version": "2.1"},
    ]
    assert found["threads"] == torch.get_num_threads()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["start"])
    assert json.loads(json.dumps(found)) == found


def test_versions_are_of_all_that_is_required() -> None:
    table = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    names = [re.split(r"[^\w.-]", text)[0].lower() for text in table["project"]["dependencies"]]
    versions = {name.lower(): found for name, found in provenance.collect()["versions"].items()}
    assert set(versions) == {"python", "reluscope", *names}
    assert {"scikit-learn", "h5py", "pydantic", "pluggy", "netcdf4"} < set(versions)
    for name in ("scikit-learn", "h5py", "netcdf4"):
        assert versions[name] == importlib.metadata.version(name)


def test_differences_are_what_decides_the_bits() -> None:
    plugins = [Plugin("a", "pkg.a", "dist-a", "1.0")]
    old = provenance.collect(seeds=[0], plugins=plugins)
    assert provenance.differences(old, provenance.collect(seeds=[1], plugins=plugins)) == {}
    new = json.loads(json.dumps(old))
    new["versions"]["torch"] = "9.9"
    new["plugins"][0]["version"] = "1.1"
    new["git"] = {"commit": "f" * 40, "dirty": False}
    new["threads"] += 1
    new["torch"] |= {"device": "cuda:0", "cpu_capability": "NONE", "interop_threads": 99}
    new["machine"] |= {"processor": "abacus", "cpus": 10_000}
    old["git"] = {"commit": "0" * 40, "dirty": False}
    found = provenance.differences(old, new)
    assert list(found) == [
        "versions.torch",
        "plugins.a",
        "git.commit",
        "machine.processor",
        "threads",
        "torch.device",
        "torch.cpu_capability",
    ]
    assert found["versions.torch"] == [old["versions"]["torch"], "9.9"]


def test_differences_leave_out_what_one_side_does_not_know() -> None:
    new = provenance.collect()
    for odd in ({}, {"versions": {"netCDF4": new["versions"]["netcdf4"]}, "git": None, "torch": 3, "plugins": [4]}):
        assert provenance.differences(odd, new) == provenance.differences(new, odd) == {}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("--out=/home/user/x.nc", "--out=x.nc"),
        ("/home/us=er/x.nc", "x.nc"),
        ("/home/some user/x.nc", "x.nc"),
        ('--set=dataset.root="/home/some user/data/"', '--set=dataset.root="data"'),
        ('files=["/home/user/a","/home/user/b"]', 'files=["a","b"]'),
        ("/home/user/a:/home/user/b", "b"),
        ("paths=/home/user/a:/home/user/b", "paths=b"),
        ("(/home/user/a,/home/user/b)", "(a,b)"),
        ("-o/home/user/x.nc", "-ox.nc"),
        ("file:///home/user/x.nc", "file:x.nc"),
        ("--out=~user/x.nc", "--out=x.nc"),
        ("../../home/user/x.nc", "x.nc"),
        (r"C:\Users\user\x.nc", "x.nc"),
        (r"--out=C:\Users\user\x.nc", "--out=x.nc"),
        ("--out=results/x.nc", "--out=results/x.nc"),
        ("--set=rate=1/3", "--set=rate=1/3"),
        ("seed=[0, 1]", "seed=[0, 1]"),
    ],
)
def test_history_holds_no_folder_of_a_user(word: str, expected: str) -> None:
    line = provenance.history_line(["/home/user/bin/reluscope", "run", word])
    assert line.split(" ", 1)[1] == f"reluscope run {expected}"
    assert "user" not in line


def test_it_tells_nothing_about_the_person() -> None:
    import socket

    text = json.dumps(provenance.collect())
    assert str(Path.home()) not in text or str(Path.home()) == "/"
    assert str(Path(provenance.__file__).parent) not in text
    for name in (socket.gethostname(), getpass.getuser()):
        assert not re.search(rf"\b{re.escape(name)}\b", text)


def _git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    package = tmp_path / "core" / "reluscope"
    package.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", "-A")
    _git(tmp_path, "commit", "-qm", "first")
    return package


def test_git_commit_and_dirty_flag(checkout: Path) -> None:
    commit = _git(checkout, "rev-parse", "HEAD")
    assert provenance.git(checkout) == {"commit": commit, "dirty": False}
    (checkout.parent.parent / "pyproject.toml").write_text("changed")
    assert provenance.git(checkout) == {"commit": commit, "dirty": True}


def test_a_repository_cannot_start_programs(checkout: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    _git(checkout, "config", "core.fsmonitor", str(trap))
    assert provenance.git(checkout) is not None
    assert not (tmp_path / "sprung").exists()


def test_no_checkout_no_git(tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lone = tmp_path / "venv" / "site-packages" / "reluscope"
    lone.mkdir(parents=True)
    assert provenance.git(lone) is None  # inside user else's repository
    monkeypatch.setenv("PATH", "")
    assert provenance.git(checkout) is None


def test_unknown_distribution() -> None:
    assert provenance.version("no-such-distribution-of-reluscope") is None
    assert provenance.collect(packages=["no-such-distribution-of-reluscope"])["versions"] == {
        "python": sys.version.split()[0],
        "no-such-distribution-of-reluscope": None,
    }
