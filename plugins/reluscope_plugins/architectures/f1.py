"""The fully connected network F1."""

from __future__ import annotations

from torch import nn

from reluscope_plugins.architectures.checks import check_flag, check_size
from reluscope_plugins.architectures.mlp import mlp


def f1(input_size: int = 784, *, classes: int = 10, batch_norm: bool = False) -> nn.Sequential:
    """Build F1: the `mlp` with five hidden layers of 512 units, ReLU in between, and torch's own initial weights.

    Args:
        input_size: Number of values of a sample, 784 for an image of 28 x 28.
        classes: Number of outputs.
        batch_norm: Whether batch normalisation comes before each activation.

    Returns:
        The network; it takes (sample, feature) or images.

    Raises:
        RecipeError: If a value is out of its range.

    References:
        Keskar et al. 2017, appendix B (network F1, with batch normalisation); Hartmann 2025, section 2.2 (networks,
        ii, without unless said otherwise).

    Example:
        >>> model = f1()
        >>> [model.linear1.in_features, model.linear6.in_features, model.linear6.out_features]
        [784, 512, 10]
    """
    check_size("f1", "input_size", input_size)
    check_size("f1", "classes", classes)
    check_flag("f1", "batch_norm", batch_norm)
    return mlp([input_size, 512, 512, 512, 512, 512, classes], batch_norm=batch_norm)
