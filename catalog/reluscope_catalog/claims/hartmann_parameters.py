"""Strategies and predicates of the claims on numbers of parameters."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Cases = SearchStrategy[dict[str, Any]]


class ExtrinsicLayer(torch.nn.Module):
    """x + x W (A(x) - I) diag(s) W^T diag(s'), A(x) having a one for each filter with x W > 0, and no dimension added.

    The shifts are small, so that no sample crosses over to the other side of the origin.

    Args:
        inputs: n.
        filters: m.
        generator: Of the parameters.

    References:
        Hartmann 2025, definition 10.
    """

    def __init__(self, inputs: int, filters: int, generator: torch.Generator) -> None:
        super().__init__()
        drawn = [
            torch.rand(size, generator=generator, dtype=torch.float64)
            for size in ((inputs, filters), (filters,), (inputs,))
        ]
        self.weight = torch.nn.Parameter(2 * drawn[0] - 1)
        self.intrinsic_shift = torch.nn.Parameter((drawn[1] + 0.1) / (16 * inputs * filters))
        self.extrinsic_shift = torch.nn.Parameter(drawn[2] + 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the output.

        Args:
            x: `(sample, input)`.

        Returns:
            `(sample, input)`.
        """
        along = x @ self.weight
        silent = ((along > 0).double() - 1) * along
        return x + (silent * self.intrinsic_shift) @ self.weight.T * self.extrinsic_shift


def extrinsic_sizes() -> Cases:
    """Return the sizes printed for the extrinsic network."""
    return st.just({"inputs": 2, "filters": 600, "layers": 3, "printed": 5400})


def extrinsic_networks() -> Cases:
    """Return sizes of extrinsic networks, those printed first."""
    sizes = {"inputs": st.integers(1, 5), "filters": st.integers(1, 700), "layers": st.integers(1, 5)}
    return st.just({"inputs": 2, "filters": 600, "layers": 3}) | st.fixed_dictionaries(sizes)


def intrinsic_sizes() -> Cases:
    """Return the sizes printed for the intrinsic network."""
    return st.just({"inputs": 2, "filters": 50, "hidden_layers": 2, "classes": 4, "printed": 5454})


def thousand_layers() -> Cases:
    """Return the sizes and results printed for the network of 1000 layers, with the last index of its sums."""
    return st.just({"filters": 64, "classes": 1000, "last": 999, "printed": [4153536, 259744, 4413280]})


def thousand_layers_to_998() -> Cases:
    """Return what is printed with sums that end one earlier, and the sums as printed with what they give."""
    printed = {998: [4153536, 259744, 4413280], 999: [4157632, 260000, 4417632]}
    return st.sampled_from(
        [{"filters": 64, "classes": 1000, "last": last, "printed": results} for last, results in printed.items()]
    )


def thousand_extrinsic_layers() -> Cases:
    """Return the sizes and the number printed for the extrinsic network of 1000 layers."""
    return st.just({"filters": 64, "classes": 1000, "layers": 1000, "printed": 1845208})


def thousand_extrinsic_layers_by_terms() -> Cases:
    """Return of how many layers the weights are counted, with what the sum is."""
    sums = {999: 1845208, 1000: 1872208}
    sizes = {"inputs": 27, "filters": 64, "classes": 1000, "layers": 1000}
    return st.sampled_from([sizes | {"weighted": weighted, "total": total} for weighted, total in sums.items()])


def extrinsic_parameters(inputs: int, filters: int, layers: int, printed: int) -> bool:
    """Return whether the printed sum gives the printed number."""
    return (inputs + 1) * filters + inputs * layers == printed


def extrinsic_parameters_by_layer(inputs: int, filters: int, layers: int) -> bool:
    """Return whether a network of such layers has ((n + 1) m + n) L parameters, and its output depends on each."""
    generator = torch.Generator().manual_seed(0)
    network = torch.nn.Sequential(*(ExtrinsicLayer(inputs, filters, generator) for _ in range(layers)))
    x = torch.randn(64, inputs, generator=generator, dtype=torch.float64)
    (network(x) * torch.randn(64, inputs, generator=generator, dtype=torch.float64)).sum().backward()
    used = sum(int((parameter.grad != 0).sum()) for parameter in network.parameters() if parameter.grad is not None)
    return used == numbers(network) == extrinsic_count(inputs, filters, layers)


def intrinsic_parameters(inputs: int, filters: int, hidden_layers: int, classes: int, printed: int) -> bool:
    """Return whether the printed sum gives the printed number, and a network of these widths has as many."""
    from reluscope_plugins.architectures.mlp import mlp

    stated = intrinsic_count(inputs, filters, hidden_layers, classes)
    network = mlp(widths=[inputs, filters, *([filters] * hidden_layers), classes])
    return stated == printed == numbers(network)


def thousand_layer_parameters(filters: int, classes: int, last: int, printed: list[int]) -> bool:
    """Return whether the sums give the printed numbers of weights, of the normalisation, and of both."""
    weights, normalisation = thousand_layer_counts(filters, classes, last)
    return [weights, normalisation, weights + normalisation] == printed


def thousand_layer_extrinsic_parameters(filters: int, classes: int, layers: int, printed: int) -> bool:
    """Return whether the printed formula gives the printed number in some reading.

    d_0 is 3 or 3 * 3 * 3; the d_(l + 1) before the sum is that of some layer; the sum runs over all layers, or over all
    but the last; its d_(l + 1) are the filters or, for the last layer, the classes; its l is the layer's number, from 0
    or from 1, or a one.
    """
    found = set()
    for inputs in (3, 27):
        for widths in ([filters] * (layers - 1), [filters] * layers, [filters] * (layers - 1) + [classes]):
            places = ([1] * len(widths), range(len(widths)), range(1, len(widths) + 1))
            sums = [
                sum(inputs * (place + width) for place, width in zip(numbers, widths, strict=True))
                for numbers in places
            ]
            found |= {inputs + before + total for before in (filters, classes) for total in sums}
    return printed in found


def thousand_layer_extrinsic_parameters_by_terms(
    inputs: int, filters: int, classes: int, layers: int, weighted: int, total: int
) -> bool:
    """Return whether d_0 + d_(l + 1) + d_0 of all layers and d_0 d_(l + 1) of the first ones are so many."""
    return extrinsic_sum(inputs, [filters] * (layers - 1) + [classes], weighted) == total


def extrinsic_sum(inputs: int, widths: list[int], weighted: int) -> int:
    """Return the sum of 2 d_0 + d_(l + 1) over all layers, and of d_0 d_(l + 1) over so many."""
    return sum(2 * inputs + width for width in widths) + inputs * sum(widths[:weighted])


def extrinsic_count(inputs: int, filters: int, layers: int) -> int:
    """Return ((n + 1) m + n) L."""
    return ((inputs + 1) * filters + inputs) * layers


def intrinsic_count(inputs: int, filters: int, hidden_layers: int, classes: int) -> int:
    """Return (n + 1) m + (m + 1) m L + (m + 1) c."""
    return (inputs + 1) * filters + (filters + 1) * filters * hidden_layers + (filters + 1) * classes


def thousand_layer_counts(filters: int, classes: int, last: int) -> tuple[int, int]:
    """Return the printed sums, of the weights and of the normalisation."""
    weights = 3 * 3 * 3 * filters + filters * classes + sum(filters * filters for _ in range(1, last + 1))
    return weights, 4 * (classes + sum(filters for _ in range(last + 1)))


def numbers(network: torch.nn.Module) -> int:
    """Return how many parameters a network has."""
    return sum(parameter.numel() for parameter in network.parameters())
