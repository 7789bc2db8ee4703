"""One pass over data that leaves them as they were found: training may be drawing from the very same loader."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterDataPipe

from reluscope.errors import ObservationError


def length(data: Iterable[Any]) -> int | None:
    """Ask for the number of batches.

    Args:
        data: Batches.

    Returns:
        The number, None where the data do not tell.
    """
    if isinstance(data, DataLoader):
        data = copy.copy(data)  # a loader remembers that it was asked, and warns about it later
    if not isinstance(data, Sized):
        return None
    try:
        return len(data)
    except (TypeError, NotImplementedError):  # a loader of a stream without a length has the method all the same
        return None


@contextmanager
def one_pass(data: Iterable[Any]) -> Iterator[Iterator[Any]]:
    """Iterate over data once, so that another iteration that is under way does not notice.

    A `DataLoader` is iterated through a copy, with workers, a sampler and a generator of its own: one with
    `persistent_workers=True` has a single iterator, which a second pass would set back to its beginning. Where the
    data set is read in this process, its plain attributes and the generators among them are restored; likewise those of
    any other iterable. What an iterable or a data set changes in place is its own affair.

    Args:
        data: Batches; an iterator is consumed.

    Yields:
        An iterator over the batches. The workers that it started are gone on exit, also on error.

    Raises:
        ObservationError: If a second pass over the loader would change the first.
    """
    if isinstance(data, DataLoader):
        _check_dataset(data)
        holders = _datasets(data.dataset) if data.num_workers == 0 else []
        data = _own(data)
    else:
        holders = [] if isinstance(data, Iterator) else [data, *_wrapped(data)]
    with _kept(holders):
        iterator = iter(data)
        try:
            yield iterator
        finally:
            # also where an error's traceback holds on to the iterator
            if isinstance(data, DataLoader):
                for name in ("_shutdown_workers", "close"):
                    getattr(iterator, name, _nothing)()


def _nothing() -> None:
    pass


def _own(loader: DataLoader[Any]) -> DataLoader[Any]:
    own = copy.copy(loader)
    names = ("sampler", "batch_sampler", "generator")
    # the samplers may hold the data sets, which are not theirs to copy
    shared = {id(data): data for data in _datasets(loader.dataset)}
    try:
        copies = copy.deepcopy({name: getattr(loader, name, None) for name in names}, shared)
    except Exception as error:  # a sampler may be anything; the cause stays chained
        raise ObservationError(
            f"data: the loader's sampler {type(loader.batch_sampler or loader.sampler).__name__} cannot be copied "
            f"({type(error).__name__}: {' '.join(str(error).split())}), so measuring would take samples from whoever "
            "else draws from it; measure through a loader with a plain sampler, such as DataLoader(dataset, "
            "batch_size=...)"
        ) from error
    own.__dict__.update(copies, _iterator=None, persistent_workers=False)
    if own._iterator is not None or own.persistent_workers:
        raise ObservationError(
            f"data: {type(loader).__name__} with persistent_workers=True has a single iterator, which cannot be left "
            "alone in this version of torch; measure through a loader without persistent workers"
        )
    return own


def _check_dataset(loader: DataLoader[Any]) -> None:
    name = type(loader.dataset).__name__
    if loader.num_workers == 0 and isinstance(loader.dataset, (Iterator, IterDataPipe)):
        raise ObservationError(
            f"data: the loader's data set {name} is its own iterator, so that measuring would set back whoever else "
            "iterates over it; write its __iter__ as a generator, set num_workers=1, or pass iter(loader) to measure "
            "once"
        )


def _wrapped(data: Any) -> list[Any]:
    # the loaders that an iterable of somebody's own holds, and what they draw from
    holders: list[Any] = []
    for value in list(getattr(data, "__dict__", {}).values()):
        found = value if isinstance(value, (list, tuple)) else value.values() if isinstance(value, dict) else [value]
        for loader in found:
            if not isinstance(loader, DataLoader):
                continue
            if loader.persistent_workers:
                raise ObservationError(
                    f"data: {type(data).__name__} wraps a DataLoader with persistent_workers=True, whose single "
                    "iterator measuring would set back; pass that loader itself, or one without persistent workers"
                )
            _check_dataset(loader)
            samplers = [loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None)]
            holders += [loader, *samplers, *(_datasets(loader.dataset) if loader.num_workers == 0 else [])]
    return holders


def _datasets(data: Any) -> list[Any]:
    # a subset, a concatenation or a wrapper of one's own holds others
    found: dict[int, Any] = {}
    rest = [data]
    while rest:
        one = rest.pop()
        if id(one) not in found:
            found[id(one)] = one
            inner = [getattr(one, "dataset", None), *(getattr(one, "datasets", None) or ())]
            rest += [item for item in inner if isinstance(item, torch.utils.data.Dataset)]
    return list(found.values())


@contextmanager
def _kept(holders: list[Any]) -> Iterator[None]:
    found = [getattr(holder, "__dict__", None) for holder in holders]
    attributes = [(now, dict(now)) for now in found if isinstance(now, dict)]
    restores = [restore for _, before in attributes for value in before.values() for restore in _restores(value)]
    try:
        yield
    finally:
        for now, before in attributes:
            for name in [name for name in now if name not in before]:
                del now[name]
            now.update({name: value for name, value in before.items() if name not in now or now[name] is not value})
        for restore in restores:
            restore()


def _restores(value: Any) -> Iterator[Callable[[], None]]:
    if isinstance(value, torch.Generator):
        torch_state = value.get_state()
        yield lambda: _discard(value.set_state(torch_state))
    elif isinstance(value, np.random.Generator):
        bits, state = value.bit_generator, value.bit_generator.state
        yield lambda: setattr(bits, "state", state)
    elif isinstance(value, np.random.RandomState):
        legacy = value.get_state()
        yield lambda: value.set_state(legacy)
    elif isinstance(value, random.Random):
        words = value.getstate()
        yield lambda: value.setstate(words)


def _discard(_: object) -> None:
    pass
