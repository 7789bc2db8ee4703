"""Where results come from: enough to run them again, and nothing about the person who ran them."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reluscope.registry import Plugin

# a path in a word: from the root, a home or a folder above, after a separator or a short option
_PATH = re.compile(
    r"""(?:(?<![^\s=:,;"'\[({<>|@])|(?<=^-\w))(?:~[^\\/=\s]*|[A-Za-z]:|\.\.)?[\\/][^=,;:"'\[\]{}()<>|]*"""
)


def collect(
    *,
    recipe: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (),
    plugins: Iterable[Plugin] = (),
    packages: Iterable[str] | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Collect where results come from.

    There is no host name, no user name and no path in it; a recipe's paths are the recipe's own.

    Args:
        recipe: The recipe as it was run.
        seeds: The seeds of the random numbers.
        plugins: The plugins that took part.
        packages: The distributions whose versions matter besides the plugins'; reluscope and all that it requires
            unless given.
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
        "start": _now(),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in (required() if packages is None else packages)},
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


def required() -> list[str]:
    """List reluscope and the distributions that it requires, without those of its extras.

    Returns:
        Their names.

    Example:
        >>> {"reluscope", "torch", "numpy", "scikit-learn"} <= set(required())
        True
    """
    try:
        found = importlib.metadata.requires("reluscope") or []
    except importlib.metadata.PackageNotFoundError:
        found = []
    names = [re.split(r"[^\w.-]", text.strip())[0] for text in found if "extra ==" not in text]
    return ["reluscope", *dict.fromkeys(names)]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Compare two provenances in what decides whether results come out equal bit for bit.

    Args:
        old: As `collect` made it, perhaps in an older reluscope.
        new: Likewise.

    Returns:
        Such as `{"versions.torch": ["2.10.0", "2.11.0"]}`: versions of packages and plugins, git commit, threads,
        device and what else torch was told. What one of them does not hold is not compared.

    Example:
        >>> differences({"threads": 1, "seeds": [0]}, {"threads": 2, "seeds": [1]})
        {'threads': [1, 2]}
    """
    before, after = _decisive(old), _decisive(new)
    return {key: [before[key], after[key]] for key in before if key in after and before[key] != after[key]}


def _decisive(found: Mapping[str, Any]) -> dict[str, Any]:
    tables = {key: found[key] if isinstance(found.get(key), Mapping) else {} for key in ("versions", "git", "machine")}
    flat = {f"versions.{str(name).lower()}": value for name, value in tables["versions"].items()}
    plugins = found.get("plugins")
    for plugin in plugins if isinstance(plugins, Sequence) else ():
        if isinstance(plugin, Mapping):
            flat[f"plugins.{plugin.get('name')}"] = plugin.get("version")
    flat |= {f"git.{key}": tables["git"][key] for key in ("commit", "dirty") if key in tables["git"]}
    flat |= {
        f"machine.{key}": tables["machine"][key] for key in ("architecture", "processor") if key in tables["machine"]
    }
    if "threads" in found:
        flat["threads"] = found["threads"]
    torch = found.get("torch")
    for key, value in torch.items() if isinstance(torch, Mapping) else ():
        if key not in {"threads", "interop_threads"}:
            flat[f"torch.{key}"] = value
    return flat


def resumed(old: str, new: str) -> tuple[str, str] | None:
    """Note in a provenance that a run goes on somewhere else.

    Args:
        old: Where it began, in JSON.
        new: Where it goes on, in JSON; the number of threads is that of torch now.

    Returns:
        The old one, with the start and the differences added to its list `resumed`, and the differences in words; None
        where there are none.
    """
    began, present = json.loads(old), json.loads(new)
    torch = sys.modules.get("torch")
    if torch is not None:
        present["threads"] = torch.get_num_threads()
    found = differences(began, present)
    if not found:
        return None
    earlier = began.get("resumed")
    entry = {"start": present.get("start", _now()), "differences": found}
    began["resumed"] = [*(earlier if isinstance(earlier, list) else []), entry]
    words = ", ".join(f"{key} {after} instead of {before}" for key, (before, after) in found.items())
    return json.dumps(began), words


def history_line(words: Sequence[str]) -> str:
    """Write a line of the history: when, and by which command, without the folders, which may hold a user's name.

    Args:
        words: The command.

    Returns:
        One line.

    Example:
        >>> history_line(["/home/user/bin/reluscope", "run", "quickstart", "--out=/home/user/run.nc"])[21:]
        'reluscope run quickstart --out=run.nc'
    """
    return " ".join([_now(), *(_last(word) for word in words)]).replace("\n", " ")


def _last(word: str) -> str:
    if Path(word).is_absolute() or PureWindowsPath(word).is_absolute():
        return _name(word)
    return "=".join(
        _name(piece) if Path(piece).is_absolute() else _PATH.sub(lambda found: _name(found[0]), piece)
        for piece in word.split("=")
    )


def _name(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]


def _now() -> str:
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"


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
        return None  # an installed copy may lie inside user else's repository
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
