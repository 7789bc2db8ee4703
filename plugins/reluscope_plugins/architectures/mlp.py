"""A fully connected network."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from reluscope.errors import ObservationError, RecipeError
from reluscope_plugins.architectures.activations import make_activation
from reluscope_plugins.architectures.checks import check_size, check_sizes
from reluscope_plugins.architectures.initialisation import check_scheme, initialise


class FlattenFeatures(nn.Module):
    """Flattens each sample and sees to it that its size fits.

    Args:
        features: Number of values that a sample must have.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Flatten a batch.

        Args:
            x: Samples of any shape, (sample, ...).

        Returns:
            The same values, (sample, feature).

        Raises:
            ObservationError: If a sample does not have as many values as the first layer takes.
        """
        if x.dim() < 2 or x[0:1].numel() != self.features * min(len(x), 1):
            raise ObservationError(
                f"the network takes samples of {self.features} values, got a batch of shape {tuple(x.shape)}; build it "
                "with the first of widths equal to the number of values of a sample"
            )
        return x.flatten(1)

    def extra_repr(self) -> str:
        """Say how many features there are.

        Returns:
            What `repr` shows in parentheses.
        """
        return f"features={self.features}"


def mlp(
    widths: Sequence[int] = (784, 512, 512, 10),
    *,
    width: int | None = None,
    depth: int | None = None,
    activation: str = "relu",
    bias: bool = True,
    bias_init: float | str | None = None,
    batch_norm: bool = False,
    dropout: float = 0.0,
    init: str = "default",
    weight_variance: float | None = None,
    bias_variance: float | None = None,
    bound: float | None = None,
    sparsity: float | None = None,
    std: float | None = None,
) -> nn.Sequential:
    """Build a fully connected network: `linear1`, (`norm1`), `relu1`, (`dropout1`), `linear2`, ..., the last linear.

    Args:
        widths: Number of values of a sample, of units of each hidden layer, of outputs.
        width: With `depth`: units of each of so many more hidden layers, before the last of `widths`. So
            `widths=[2, 2], width=16, depth=8` is a network of uniform width.
        depth: With `width`: how many; 1 if left out.
        activation: One of `reluscope_plugins.architectures.activations.ACTIVATIONS`.
        bias: Whether the linear layers have one.
        bias_init: What each unit's additive parameter is at first, whatever `init` says of it: `"uniform"` draws the
            biases as torch does, up to one over the square root of the weights at one unit; a number is that constant,
            and where batch normalisation takes constants away again, its own additive parameter is that number too.
        batch_norm: Whether batch normalisation comes before each activation.
        dropout: Share of hidden units dropped in training, within 0..1, 1 excluded.
        init: `"default"` (torch's own), `"he_normal"`, `"gaussian"`, `"uniform"` or `"sparse"`.
        weight_variance: For `"gaussian"`: variance of the weights times their number at one unit, default 2.
        bias_variance: For `"gaussian"`: variance of the biases, default 0.
        bound: For `"uniform"`: greatest magnitude; default one over the square root of the weights at one unit.
        sparsity: For `"sparse"`: share of zeros in each column of a weight matrix, default 0.9.
        std: For `"sparse"`: standard deviation of the others, default 0.01.

    Returns:
        The network; it takes (sample, feature) or images.

    Raises:
        RecipeError: If a value is out of its range, or not one of the chosen init.

    Example:
        >>> model = mlp([64, 32, 10])
        >>> [name for name, _ in model.named_children()]
        ['flatten', 'linear1', 'relu1', 'linear2']
        >>> model(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """
    sizes = _uniform(check_sizes("mlp", "widths", widths, at_least=2), width, depth)
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise RecipeError(f"architecture 'mlp': dropout is {dropout!r}, expected a share within 0..1, 1 excluded")
    parameters = check_scheme(
        init,
        {
            "weight_variance": weight_variance,
            "bias_variance": bias_variance,
            "bound": bound,
            "sparsity": sparsity,
            "std": std,
        },
    )
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=FlattenFeatures(sizes[0]))
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes), start=1):
        layers[f"linear{number}"] = nn.Linear(inputs, outputs, bias=bias)
        if number == len(sizes) - 1:
            break
        if batch_norm:
            layers[f"norm{number}"] = nn.BatchNorm1d(outputs)
        layers[f"{activation}{number}"] = make_activation(activation)
        if dropout:
            layers[f"dropout{number}"] = nn.Dropout(dropout)
    initialise((layer for layer in layers.values() if isinstance(layer, nn.Linear)), init, parameters)
    if bias_init is not None:
        _check_bias_init(bias_init, bias=bias, batch_norm=batch_norm, bias_variance=bias_variance)
        _initialise_biases(layers.values(), bias_init)
    return nn.Sequential(layers)


def _uniform(sizes: list[int], width: int | None, depth: int | None) -> list[int]:
    if width is None:
        if depth is not None:
            raise RecipeError(f"architecture 'mlp': depth is {depth!r} without a width; say how wide the layers are")
        return sizes
    more = [check_size("mlp", "width", width)] * check_size("mlp", "depth", 1 if depth is None else depth)
    return [*sizes[:-1], *more, sizes[-1]]


def _check_bias_init(bias_init: float | str, *, bias: bool, batch_norm: bool, bias_variance: float | None) -> None:
    number = isinstance(bias_init, int | float) and not isinstance(bias_init, bool) and math.isfinite(bias_init)
    if not number and bias_init != "uniform":
        raise RecipeError(f"architecture 'mlp': bias_init is {bias_init!r}, expected a number or \"uniform\"")
    if bias_variance is not None:
        raise RecipeError("architecture 'mlp': bias_variance and bias_init both say what the biases are; leave one out")
    if not bias and not (batch_norm and number):
        raise RecipeError(f"architecture 'mlp': bias_init is {bias_init!r}, but bias = false leaves no bias; drop one")


@torch.no_grad()
def _initialise_biases(layers: Iterable[nn.Module], bias_init: float | str) -> None:
    for layer in layers:
        if isinstance(layer, nn.Linear | nn.BatchNorm1d) and layer.bias is not None and not isinstance(bias_init, str):
            layer.bias.fill_(bias_init)
        elif isinstance(layer, nn.Linear) and layer.bias is not None:
            bound = 1 / math.sqrt(layer.in_features)
            layer.bias.uniform_(-bound, bound)
