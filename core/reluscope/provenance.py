"""Where results come from: enough to run them again, and nothing about the person who ran them."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reluscope.registry import Plugin

PACKAGES = ("reluscope", "torch", "torchvision", "numpy", "scipy", "xarray", "netCDF4")


def collect(
    *,
    recipe: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (),
    plugins: Iterable[Plugin] = (),
    packages: Iterable[str] = PACKAGES,
    device: str = "cpu",
) -> dict[str, Any]:
    """Collect where results come from.

    There is no host name, no user name and no path in it; a recipe's paths are the recipe's own.

    Args:
        recipe: The recipe as it was run.
        seeds: The seeds of the random numbers.
        plugins: The plugins that took part.
        packages: The distributions whose versions matter besides the plugins'.
        device: What torch computed on, such as `"cuda:0"`.

    Returns:
        Plain types only, ready for JSON.

    Example:
        >>> found = collect(seeds=[7])
        >>> found["seeds"], "torch" in found["versions"]
        ([7], True)
    """
    found = _torch(device)
    return {
        "recipe": dict(recipe) if recipe is not None else None,
        "seeds": [int(seed) for seed in seeds],
        "start": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "plugins": [
            {
                "name": plugin.name,
                "module": plugin.module,
                "distribution": plugin.distribution,
                "version": plugin.version,
            }
            for plugin in sorted(plugins, key=lambda plugin: (plugin.name, plugin.module))
        ],
        "git": git(Path(__file__).parent),
        "machine": {
            "system": platform.system(),
            "release": platform.release(),
            "architecture": platform.machine(),
            "processor": processor(),
            "cpus": os.cpu_count(),
        },
        "threads": found["threads"],
        "torch": found,
    }


def version(distribution: str) -> str | None:
    """Return the version of an installed distribution.

    Args:
        distribution: Its name.

    Returns:
        The version, or None where it is not installed.
    """
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def git(folder: Path) -> dict[str, Any] | None:
    """Return the commit of the checkout that reluscope runs from.

    Args:
        folder: Where reluscope lies.

    Returns:
        `commit` and `dirty`, or None where it is no checkout of reluscope, or there is no git.
    """
    root = folder.parent.parent
    if not (root / ".git").exists() or not (root / "pyproject.toml").is_file():
        return None  # an installed copy may lie inside somebody else's repository
    commit = _run_git(root, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    status = _run_git(root, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(status) if status is not None else None}


def _run_git(folder: Path, *words: str) -> str | None:
    # no lock is taken, no prompt is shown, and none of the repository's own programs is started
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-C", str(folder), *words]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def processor() -> str:
    """Return the processor's name.

    Returns:
        Such as `"AMD EPYC 9B14"`; empty where the system does not tell.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _torch(device: str) -> dict[str, Any]:
    import torch

    found = {
        "device": str(device),
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cuda": torch.version.cuda,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
    if torch.device(device).type == "cuda" and torch.cuda.is_available():
        found["device_name"] = torch.cuda.get_device_name(device)
    return found
