"""The affine map that a piecewise-linear network is on one piece, as a matrix and as an operator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch

from reluscope.errors import ObservationError
from reluscope.graph_derivative import GraphDerivative, flat, random_like
from reluscope.linear_nodes import shows_affine
from reluscope.probe import Probe
from reluscope.suspects import Suspect, ancestors, refusal


class AffineMap:
    """f(y) = W y + b for all y on the piece that holds x, for each sample of a batch.

    Works on the recorded graph of one forward pass, whose masks are frozen there: `rmatvec` is a backward pass,
    `matvec` its transpose (the derivative of the backward pass by the covector), and neither forms W. Inputs and
    outputs are flattened; several inputs are concatenated. Before the first answer, unless
    all nodes of the graph are known to be affine on a piece, the curvature is tested: the derivative of u^T J(x) v by x
    must vanish exactly for random u and v. A graph that leaves out a part of the network
    has no curvature either; so a cut is refused by name, and a probe compares W with the network's own values.

    Args:
        outputs: Each `(sample, ...)`, at the ends of the graph; flattened, and several concatenated.
        leaves: The inputs at its start, samples first.
        samples: Number of samples.
        suspects: Calls that may keep the map from being affine.
        widest: Numbers a sample at the widest layer, to bound memory.
        cut: What cut the output off from the input, None if nothing did.
        probe: Values on both sides of the input, to compare with; None to rely on the graph.
        target: What of the probe belongs to this map: a site, None for the output.

    References:
        Johansson 2022, eq. 2.2 (W = W_n Z_{n-1} ... Z_1 W_1) and fig. 3.6 (forward and backward mode).
    """

    def __init__(
        self,
        outputs: Sequence[torch.Tensor],
        leaves: Sequence[torch.Tensor],
        *,
        samples: int,
        suspects: Sequence[Suspect] = (),
        widest: int = 0,
        cut: Suspect | None = None,
        probe: Probe | None = None,
        target: str | None = None,
    ) -> None:
        for leaf in leaves:
            if leaf.ndim == 0 or leaf.shape[0] != samples:
                raise ObservationError(
                    f"an input has shape {tuple(leaf.shape)}, expected {samples} samples first; there is no affine map "
                    "of each sample"
                )
        self.samples = samples
        self._derivative = GraphDerivative(outputs, leaves, samples=samples, suspects=suspects, widest=widest)
        self._suspects = tuple(suspects)
        self._cut = cut
        self._probe = probe
        self._target = target
        self._checked = False

    def __repr__(self) -> str:
        return f"AffineMap(sample={self.samples}, out={self.shape[1]}, in={self.shape[2]})"

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield self.weight
        yield self.bias

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of samples, outputs and inputs."""
        return self.samples, sum(self._derivative.outs), sum(self._derivative.widths)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the first input, in which the map is given."""
        return self._derivative.dtype

    @property
    def input(self) -> torch.Tensor:
        """The samples, `(sample, in)`."""
        return flat([leaf.detach().to(self.dtype) for leaf in self._derivative.leaves])

    @cached_property
    def weight(self) -> torch.Tensor:
        """W, formed: `(sample, out, in)`."""
        self.check()
        return self._derivative.formed()

    @cached_property
    def bias(self) -> torch.Tensor:
        """The offset b = f(x) - W x: `(sample, out)`."""
        with torch.no_grad():
            formed = self.__dict__.get("weight")
            pushed = self.matvec(self.input) if formed is None else (formed @ self.input.unsqueeze(-1)).squeeze(-1)
            return flat(self._derivative.outputs).detach().to(self.dtype) - pushed

    def matvec(self, vector: torch.Tensor) -> torch.Tensor:
        """Return W v, without forming W (forward mode with frozen masks).

        Args:
            vector: `(sample, in)`, or several at a time, `(vector, sample, in)`.

        Returns:
            `(sample, out)`, or `(vector, sample, out)`.

        Raises:
            ObservationError: If the shape does not fit, or the network is not affine on a piece.
        """
        self._check(vector, self.shape[2], "in")
        self.check()
        return self._derivative.push(vector)

    def check(self) -> None:
        """See to it that the map is exact, which is otherwise done before the first answer.

        Raises:
            ObservationError: If the network is not affine on a piece, or its graph does not tell.
        """
        if self._checked:
            return
        for suspect in ancestors(self._derivative.outputs, self._suspects, certain=True):
            raise ObservationError(f"not affine on a piece: {suspect}; {suspect.remedy}")
        if self._derivative.hangs:
            if not shows_affine(self._derivative.outputs) and self._derivative.pull is not None:
                self._test_curvature(self._derivative.pull[1])
            self._test_mixing()
        self._compare()
        self._checked = True

    def rmatvec(self, covector: torch.Tensor) -> torch.Tensor:
        """Return W^T u, without forming W (backward mode).

        Args:
            covector: `(sample, out)`, or several at a time, `(vector, sample, out)`.

        Returns:
            `(sample, in)`, or `(vector, sample, in)`.

        Raises:
            ObservationError: If the shape does not fit, or the network is not affine on a piece.
        """
        self._check(covector, self.shape[1], "out")
        self.check()
        return self._derivative.back(covector)

    def _test_curvature(self, pulled: torch.Tensor) -> None:
        for curvature in self._derivative.grad([pulled], self._derivative.leaves, [random_like(pulled)]):
            if bool((curvature != 0).any()):
                raise ObservationError(refusal(self._derivative.outputs, self._suspects))

    def _test_mixing(self) -> None:
        if self.samples == 1:
            return
        even = flat([random_like(output) for output in self._derivative.outputs])
        even[1::2] = 0
        if bool((self._derivative.back(even)[1::2] != 0).any()):
            raise ObservationError(
                "the output of one sample depends on another sample, so there is no affine map of each; observe "
                "samples one at a time, or remove what mixes them"
            )

    def _compare(self) -> None:
        # With what the graph does not tell: a named cut, then the network's own values.
        if self._cut is not None:
            raise ObservationError(f"the affine map is lost: {self._cut}; {self._cut.remedy}")
        if self._probe is None:
            return
        pushed = self._derivative.push(self._probe.step)
        sample = self._probe.mismatch(self._target, pushed)
        if sample is None:
            return
        suspect = next(iter(ancestors(self._derivative.outputs, self._suspects, certain=False, hidden=True)), None)
        cause = (
            f"{suspect}; {suspect.remedy}"
            if suspect
            else (
                "a part of it that torch cannot differentiate or differentiates wrongly; look for code outside torch, "
                "straight-through gradients and custom kernels, and write it with torch's own functions"
            )
        )
        raise ObservationError(
            f"the affine map is wrong: at sample {sample}, the network changes otherwise near the input than its "
            f"derivative says, expected an exact derivative; the cause may be {cause}"
        )

    def _check(self, vector: torch.Tensor, width: int, name: str) -> None:
        if vector.ndim not in (2, 3) or tuple(vector.shape[-2:]) != (self.samples, width) or not len(vector):
            raise ObservationError(
                f"got a tensor of shape {tuple(vector.shape)}, expected (sample, {name}) = ({self.samples}, {width}), "
                "or several of these, stacked; flatten what follows the sample dim"
            )
