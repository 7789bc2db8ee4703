"""The affine map that a piecewise-linear network is on one piece, as a matrix and as an operator."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import torch

from reluscope.errors import ObservationError
from reluscope.linear_nodes import shows_affine
from reluscope.probe import Probe
from reluscope.suspects import Suspect

_SEED = 0x5EED
_CHUNK = 2**24
"""Numbers that one chunk of rows of W may hold at the widest layer."""
_CHUNK_ON_CPU = 2**18
"""Likewise on a CPU, where larger chunks are no faster than row after row, and with batch norm slower."""


_Pull = tuple[Sequence[torch.Tensor], torch.Tensor]


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
        self._outputs = tuple(outputs)
        self._outs = [output.numel() // samples for output in outputs]
        self._leaves = tuple(leaves)
        self._suspects = tuple(suspects)
        self._widest = widest
        self._cut = cut
        self._probe = probe
        self._target = target
        self._checked = False
        self.samples = samples
        for leaf in self._leaves:
            if leaf.ndim == 0 or leaf.shape[0] != samples:
                raise ObservationError(
                    f"an input has shape {tuple(leaf.shape)}, expected {samples} samples first; there is no affine map "
                    "of each sample"
                )
        self._widths = [leaf.numel() // samples for leaf in self._leaves]

    def __repr__(self) -> str:
        return f"AffineMap(sample={self.samples}, out={self.shape[1]}, in={self.shape[2]})"

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield self.weight
        yield self.bias

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of samples, outputs and inputs."""
        return self.samples, sum(self._outs), sum(self._widths)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the first input, in which the map is given."""
        return self._leaves[0].dtype

    @property
    def input(self) -> torch.Tensor:
        """The samples, `(sample, in)`."""
        return self._flat([leaf.detach().to(self.dtype) for leaf in self._leaves])

    @cached_property
    def weight(self) -> torch.Tensor:
        """W, formed: `(sample, out, in)`."""
        self.check()
        _, outs, ins = self.shape
        if outs <= ins and self._hangs:
            return self._stacked(outs, self._outputs[0], lambda basis, batched: self._back(basis, batched=batched))
        pull = self._pull
        if pull is None:
            return torch.zeros(self.shape, dtype=self.dtype, device=self._outputs[0].device)
        columns = self._stacked(ins, pull[1], lambda basis, batched: self._push(pull, basis, batched=batched))
        return columns.transpose(1, 2).contiguous().to(self.dtype)

    @cached_property
    def bias(self) -> torch.Tensor:
        """The offset b = f(x) - W x: `(sample, out)`."""
        with torch.no_grad():
            formed = self.__dict__.get("weight")
            pushed = self.matvec(self.input) if formed is None else (formed @ self.input.unsqueeze(-1)).squeeze(-1)
            return self._flat(self._outputs).detach().to(self.dtype) - pushed

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
        pull = self._pull
        if pull is None:
            return vector.new_zeros(*vector.shape[:-1], self.shape[1], dtype=self.dtype)
        vector = vector.detach().to(pull[1])
        if vector.ndim == 2:
            return self._push(pull, vector)
        return self._each(vector, lambda some, batched: self._push(pull, some, batched=batched))

    def check(self) -> None:
        """See to it that the map is exact, which is otherwise done before the first answer.

        Raises:
            ObservationError: If the network is not affine on a piece, or its graph does not tell.
        """
        if self._checked:
            return
        for suspect in self._ancestors(certain=True):
            raise ObservationError(f"not affine on a piece: {suspect}; {suspect.remedy}")
        if self._hangs:
            if not shows_affine(self._outputs) and self._pull is not None:
                self._test_curvature(self._pull[1])
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
        if not self._hangs:
            return covector.new_zeros(*covector.shape[:-1], self.shape[2], dtype=self.dtype)
        covector = covector.detach().to(self._outputs[0])
        if covector.ndim == 2:
            return self._back(covector)
        return self._each(covector, lambda some, batched: self._back(some, batched=batched))

    @cached_property
    def _hangs(self) -> bool:
        # Whether any output depends on the input.
        return any(output.requires_grad for output in self._outputs)

    @cached_property
    def _pull(self) -> _Pull | None:
        # Random covectors and W^T times them, with the graph between them; None where W = 0.
        if not self._hangs:
            return None
        with self._context():
            covectors = [self._random(output).requires_grad_() for output in self._outputs]
            pulled = self._flat(self._grad(self._outputs, self._leaves, covectors, create_graph=True))
        return (covectors, pulled) if pulled.requires_grad else None

    def _test_curvature(self, pulled: torch.Tensor) -> None:
        for curvature in self._grad([pulled], self._leaves, [self._random(pulled)]):
            if bool((curvature != 0).any()):
                raise ObservationError(self._refusal())

    def _test_mixing(self) -> None:
        if self.samples == 1:
            return
        even = self._flat([self._random(output) for output in self._outputs])
        even[1::2] = 0
        if bool((self._back(even)[1::2] != 0).any()):
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
        pushed = torch.zeros_like(self._flat(self._outputs).detach())
        pull = self._pull
        if pull is not None:
            pushed = self._push(pull, self._probe.step.to(pull[1]))
        sample = self._probe.mismatch(self._target, pushed)
        if sample is None:
            return
        suspect = next(iter(self._ancestors(certain=False, hidden=True)), None)
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

    def _refusal(self, cause: str = "the derivative by the input changes within a piece") -> str:
        suspect = next(iter(self._ancestors(certain=False)), None)
        if suspect is None:
            return (
                f"not affine on a piece, by an operation that reluscope cannot name: {cause}; expected a "
                "piecewise-linear network; replace what is smooth"
            )
        return f"not affine on a piece: {suspect}; {suspect.remedy}"

    def _ancestors(self, *, certain: bool, hidden: bool = False) -> Iterator[Suspect]:
        # The suspects on which the output depends.
        suspects = [suspect for suspect in self._suspects if (suspect.certain, suspect.hidden) == (certain, hidden)]
        if not suspects:
            return
        seen: set[Any] = set()
        stack = [output.grad_fn for output in self._outputs]
        while stack:
            node = stack.pop()
            if node is not None and node not in seen:
                seen.add(node)
                stack.extend(following for following, _ in node.next_functions)
        yield from (suspect for suspect in suspects if suspect.node is None or suspect.node in seen)

    def _back(self, covector: torch.Tensor, *, batched: bool = False) -> torch.Tensor:
        parts = [
            part.reshape(*part.shape[:-1], *output.shape[1:])
            for part, output in zip(torch.split(covector, self._outs, -1), self._outputs, strict=True)
        ]
        return self._flat(self._grad(self._outputs, self._leaves, parts, batched=batched), lead=int(batched))

    def _push(self, pull: _Pull, vector: torch.Tensor, *, batched: bool = False) -> torch.Tensor:
        covectors, pulled = pull
        parts = self._grad([pulled], covectors, [vector], batched=batched)
        return self._flat(parts, lead=int(batched)).to(self.dtype)

    def _flat(self, parts: Sequence[torch.Tensor], lead: int = 0) -> torch.Tensor:
        return torch.cat([part.flatten(lead + 1) if part.ndim > lead + 1 else part.unsqueeze(-1) for part in parts], -1)

    def _stacked(
        self, count: int, like: torch.Tensor, apply: Callable[[torch.Tensor, bool], torch.Tensor]
    ) -> torch.Tensor:
        # To every unit vector: (sample, count, ...).
        if not count:
            return like.new_zeros(self.samples, 0, 0)
        identity = torch.eye(count, dtype=like.dtype, device=like.device)
        basis = identity.unsqueeze(1).expand(-1, self.samples, -1)
        return self._each(basis, apply).transpose(0, 1).contiguous()

    def _each(self, vectors: torch.Tensor, apply: Callable[[torch.Tensor, bool], torch.Tensor]) -> torch.Tensor:
        # Many at a time.
        most = _CHUNK_ON_CPU if vectors.device.type == "cpu" else _CHUNK
        chunk = max(1, most // max(1, self.samples * max(self._widest, *self.shape[1:])))
        pieces: list[torch.Tensor] = []
        vectorised = chunk > 1
        for some in torch.split(vectors, chunk):
            if vectorised:
                try:
                    pieces.append(apply(some, True))
                    continue
                except RuntimeError:
                    # Not every derivative can be vectorised; one at a time works, or raises what is really wrong.
                    vectorised = False
            pieces.append(torch.stack([apply(vector, False) for vector in some]))
        return torch.cat(pieces)

    def _grad(
        self,
        outputs: Sequence[torch.Tensor],
        inputs: Sequence[torch.Tensor],
        covectors: Sequence[torch.Tensor],
        *,
        create_graph: bool = False,
        batched: bool = False,
    ) -> list[torch.Tensor]:
        with self._context():
            covectors = [covector.clone() if covector.is_inference() else covector for covector in covectors]
            live = [number for number, output in enumerate(outputs) if output.requires_grad]
            try:
                parts = torch.autograd.grad(
                    [outputs[number] for number in live],
                    inputs,
                    [covectors[number] for number in live],
                    retain_graph=True,
                    create_graph=create_graph,
                    allow_unused=True,
                    is_grads_batched=batched,
                )
            except RuntimeError as error:
                message = str(error)
                if "modified by an inplace operation" in message:
                    raise ObservationError(
                        "the weights were changed after the observation, so its affine map is lost; ask for the map "
                        "before the optimizer steps, or observe again"
                    ) from error
                if "torch.utils.checkpoint" in message:
                    raise ObservationError(
                        "the model recomputes activations (torch.utils.checkpoint), which keeps no graph for an affine "
                        "map; turn checkpointing off"
                    ) from error
                if "derivative for" in message or "differentiate twice" in message:
                    raise ObservationError(self._refusal(message)) from error
                raise
        lead = covectors[0].shape[:1] if batched else ()
        return [
            part if part is not None else leaf.new_zeros((*lead, *leaf.shape))
            for part, leaf in zip(parts, inputs, strict=True)
        ]

    @contextlib.contextmanager
    def _context(self) -> Iterator[None]:
        # Differentiation must work whatever the caller's modes are.
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            stack.enter_context(torch.autocast(self._outputs[0].device.type, enabled=False))
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message="There is a performance drop", category=UserWarning)
            yield

    def _random(self, like: torch.Tensor) -> torch.Tensor:
        # Drawn on the CPU, so that a verdict does not depend on the device.
        generator = torch.Generator().manual_seed(_SEED)
        return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.device, like.dtype)

    def _check(self, vector: torch.Tensor, width: int, name: str) -> None:
        if vector.ndim not in (2, 3) or tuple(vector.shape[-2:]) != (self.samples, width) or not len(vector):
            raise ObservationError(
                f"got a tensor of shape {tuple(vector.shape)}, expected (sample, {name}) = ({self.samples}, {width}), "
                "or several of these, stacked; flatten what follows the sample dim"
            )
