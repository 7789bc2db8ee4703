"""See which linear piece a ReLU network uses on which input, and how training moves the pieces.

The public names are those in `__all__`; each is imported at its first use, so that `import reluscope` is light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reluscope.entries import metric as metric
    from reluscope.errors import ReluscopeError as ReluscopeError
    from reluscope.hookspecs import hookimpl as hookimpl
    from reluscope.lab import Lab as Lab
    from reluscope.measurement import measure as measure
    from reluscope.observation import affine as affine
    from reluscope.observation import observe as observe
    from reluscope.opening import open_archive as open_archive
    from reluscope.optimizer_step import OptimizerStep as OptimizerStep
    from reluscope.quantization import quantize_ as quantize_
    from reluscope.quantization import refine_ as refine_
    from reluscope.quantization import restore_ as restore_
    from reluscope.quantization import set_samples_ as set_samples_
    from reluscope.runner import run as run
    from reluscope.verification import verify as verify
    from reluscope.watch import Watch as Watch

_MODULES = {
    "Lab": "lab",
    "OptimizerStep": "optimizer_step",
    "ReluscopeError": "errors",
    "Watch": "watch",
    "affine": "observation",
    "hookimpl": "hookspecs",
    "measure": "measurement",
    "metric": "entries",
    "observe": "observation",
    "open_archive": "opening",
    "quantize_": "quantization",
    "refine_": "quantization",
    "restore_": "quantization",
    "run": "runner",
    "set_samples_": "quantization",
    "verify": "verification",
}

__version__ = "0.1.0"
__all__ = [
    "Lab",
    "OptimizerStep",
    "ReluscopeError",
    "Watch",
    "affine",
    "hookimpl",
    "measure",
    "metric",
    "observe",
    "open_archive",
    "quantize_",
    "refine_",
    "restore_",
    "run",
    "set_samples_",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'reluscope' has no attribute {name!r}")
    return getattr(importlib.import_module(f"reluscope.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
