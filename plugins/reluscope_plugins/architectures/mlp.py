"""A fully connected network."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from reluscope.errors import ObservationError, RecipeError
from reluscope_plugins.architectures.activations import make_activation
from reluscope_plugins.architectures.checks import check_sizes
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
    activation: str = "relu",
    bias: bool = True,
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
        activation: One of `reluscope_plugins.architectures.activations.ACTIVATIONS`.
        bias: Whether the linear layers have one.
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
    sizes = check_sizes("mlp", "widths", widths, at_least=2)
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
    return nn.Sequential(layers)
