"""The global random state of torch, Python and NumPy: captured, restored and seeded as plain data."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def capture() -> dict[str, Any]:
    """Capture the random state.

    Returns:
        Tensors, numbers, texts and lists: fit for a checkpoint that is loaded without unpickling.
    """
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - the state of others' code
    return {
        "torch": torch.get_rng_state(),
        # asking an accelerator that was never used for its state would start it, which takes seconds and memory
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],  # type: ignore[no-untyped-call]
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
        "python": [version, list(words), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
    }


def restore(state: Mapping[str, Any]) -> None:
    """Restore what `capture` returned.

    Args:
        state: The captured state.
    """
    torch.set_rng_state(state["torch"])
    for device, cuda in enumerate(state["cuda"]):
        torch.cuda.set_rng_state(cuda, device)
    if state["mps"] is not None:
        torch.mps.set_rng_state(state["mps"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002


@contextmanager
def isolated(seed: int | None = None) -> Iterator[None]:
    """Leave the global random state on exit as it was on entry.

    Args:
        seed: Seeds torch, Python and NumPy inside; None goes on from the state as it is.

    Yields:
        Nothing.
    """
    before = capture()
    try:
        if seed is not None:
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
        yield
    finally:
        restore(before)


def derived_seed(seed: int, *stream: int) -> int:
    """Derive an independent seed for one stream of draws.

    Args:
        seed: The seed of a run.
        *stream: Which stream, such as `(1, epoch)`.

    Returns:
        A seed below 2^63.

    Example:
        >>> derived_seed(0, 1) == derived_seed(0, 1), derived_seed(0, 1) == derived_seed(0, 2)
        (True, False)
    """
    return int(np.random.SeedSequence([seed, *stream]).generate_state(1, np.uint64)[0] >> np.uint64(1))
