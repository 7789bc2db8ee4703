"""Batch norm with the statistics of given data, so that it does not depend on the points at which a network is seen."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree

from reluscope.errors import ObservationError
from reluscope.finite import trouble
from reluscope.inputs import Arguments, unwrap
from reluscope.passes import one_pass
from reluscope.preserve import preserved


@contextlib.contextmanager
def batch_statistics(model: nn.Module, data: torch.Tensor | Iterable[Any]) -> Iterator[None]:
    """Within, every batch norm of a model normalises by the mean and variance of given data.

    They are those that training mode has if all the data are one batch: the first batch norm takes them of its input,
    the second of its input where the first normalises by them, and so on; the variance is the biased one. Everything
    else runs in eval mode, such as dropout. One batch costs one forward pass; several cost one pass over the data for
    each batch norm, since each needs those before it done, and never more memory than one batch. Sums are in float64.

    On exit, also on error, the model is as it was, bit for bit: statistics, mode, hooks, random state.

    Args:
        model: The model; is in eval mode within.
        data: One batch, a tensor `(sample, ...)`; or batches as `reluscope.measure` takes them: x or (x, y), from
            something that can be iterated again and again, such as a list or a `DataLoader` that does not shuffle.

    Yields:
        Nothing.

    Raises:
        ObservationError: If there is no batch, the model does not take it, it is not finite, it gives a batch norm less
            than two values, or one batch norm is called several times in a pass, so that it has no one mean and
            variance.

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> with batch_statistics(norm, torch.tensor([[1.0], [3.0]])):
        ...     norm(torch.tensor([[1.0], [2.0], [4.0]])).round(decimals=3)
        tensor([[-1.],
                [ 0.],
                [ 2.]], grad_fn=<RoundBackward1>)
        >>> norm.running_mean, norm.training
        (tensor([0.]), True)
    """
    network = unwrap(model)
    norms = {module: path for path, module in network.named_modules() if isinstance(module, _BatchNorm)}
    with preserved(network, training=False):
        if norms:
            batches = [data] if isinstance(data, torch.Tensor) else data
            if isinstance(batches, Iterator):
                batches = list(batches)
            _fit(network, norms, batches)
        yield


@dataclasses.dataclass
class _Moments:
    """Number, mean and sum of squared deviations of each channel, in float64; and a tensor of the input's own dtype."""

    count: int
    mean: torch.Tensor
    squares: torch.Tensor
    like: torch.Tensor

    @classmethod
    def of(cls, values: torch.Tensor) -> _Moments:
        rows = values.detach().movedim(1, 0).flatten(1).to(torch.float64)
        mean = rows.mean(1)
        return cls(rows.shape[1], mean, (rows - mean[:, None]).square().sum(1), values.new_empty(0))

    def merged(self, other: _Moments | None) -> _Moments:
        # Chan, Golub, LeVeque 1983
        if other is None:
            return self
        count = self.count + other.count
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        squares = self.squares + other.squares + shift.square() * (self.count * other.count / count)
        return _Moments(count, mean, squares, self.like)


def _fit(network: nn.Module, norms: dict[_BatchNorm, str], batches: Iterable[Any]) -> None:
    first = list(_first(batches, 2))
    if not first:
        raise ObservationError(
            "statistics: the data gave no batch, expected at least one; pass a tensor or a list of batches"
        )
    listener = _Listener(norms, one_batch=len(first) == 1)
    with contextlib.ExitStack() as stack:
        for norm in norms:
            stack.callback(norm.register_forward_pre_hook(listener, prepend=True, with_kwargs=True).remove)
        if listener.one_batch:
            _run(network, first[0], listener)
            return
        while listener.more:
            with one_pass(batches) as each:
                for batch in each:
                    _run(network, batch, listener)
            listener.settle()


class _Listener:
    """Hears what each batch norm is given; once one normalises by the data, what it passes on is final."""

    def __init__(self, norms: dict[_BatchNorm, str], *, one_batch: bool) -> None:
        self.norms = norms
        self.one_batch = one_batch
        self.more = True
        self.calls: list[nn.Module] = []
        self._done: set[nn.Module] = set()
        self._gathered: tuple[_BatchNorm, _Moments] | None = None

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not isinstance(module, _BatchNorm):
            return
        if module in self.calls:
            raise ObservationError(
                f"batch norm {self.norms[module]!r} is called several times in one pass, so the data give it no one "
                "mean and variance; use a module of its own for each call"
            )
        self.calls.append(module)
        waiting = self._gathered[0] if self._gathered else module
        if module in self._done or waiting is not module:
            return
        moments = _Moments.of(args[0] if args else kwargs["input"])
        self._gathered = module, moments.merged(self._gathered[1] if self._gathered else None)
        if self.one_batch:
            self.settle()

    def settle(self) -> None:
        """Let the batch norm whose input was heard normalise by it; without one, none is called at all.

        Raises:
            ObservationError: If its input had less than two values a channel.
        """
        if self._gathered is None:
            self.more = False
            return
        norm, moments = self._gathered
        if moments.count < 2:
            raise ObservationError(
                f"batch norm {self.norms[norm]!r}: the data give it one value a channel, expected at least two; pass "
                "more samples"
            )
        like = next((t for t in (norm.running_mean, norm.weight) if t is not None), moments.like)
        # new tensors in the place of the old, which are put back on exit
        norm.running_mean = moments.mean.to(like)
        norm.running_var = (moments.squares / moments.count).to(like)
        self._done.add(norm)
        self._gathered = None
        self.more = len(self._done) < len(self.calls)


def _first(batches: Iterable[Any], number: int) -> Iterator[Any]:
    with one_pass(batches) as each:
        for _, batch in zip(range(number), each, strict=False):
            yield batch


def _run(network: nn.Module, batch: Any, listener: _Listener) -> None:
    listener.calls.clear()
    x = batch[0] if isinstance(batch, tuple | list) else batch
    device = next((tensor.device for tensor in [*network.parameters(), *network.buffers()]), None)
    args, kwargs, _ = Arguments.of(x).copied(graph=False)
    args, kwargs = _pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), (args, kwargs))
    for tensor in _pytree.tree_leaves((args, kwargs)):
        if isinstance(tensor, torch.Tensor) and (what := trouble(tensor)):
            raise ObservationError(f"statistics: the data hold {what}, expected finite values; clean the data")
    try:
        with torch.no_grad():
            network(*args, **kwargs)
    except (RuntimeError, IndexError, TypeError) as error:  # what torch raises on shapes and dtypes that do not fit
        raise ObservationError(
            f"statistics: the model raised {type(error).__name__} on the data: {' '.join(str(error).split())}; "
            "expected batches that it takes, of its own dtype"
        ) from error
