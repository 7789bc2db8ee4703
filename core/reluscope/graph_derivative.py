"""The derivative of a recorded graph as an operator: products with it and with its transpose."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import torch

from reluscope.errors import ObservationError
from reluscope.suspects import Suspect, refusal

_SEED = 0x5EED
_CHUNK = 2**24
"""Numbers that one chunk of rows may hold at the widest layer."""
_CHUNK_ON_CPU = 2**18
"""Likewise on a CPU, where larger chunks are no faster than row after row, and with batch norm slower."""

Pull = tuple[Sequence[torch.Tensor], torch.Tensor]
Apply = Callable[[torch.Tensor, bool], torch.Tensor]


class GraphDerivative:
    """J = df/dx of each sample of a batch, from the graph of one forward pass whose masks are frozen there.

    `back` is a backward pass; `push` its transpose, the derivative of the backward pass by the covector. Neither
    forms J. Inputs and outputs are flattened; several are concatenated.

    Attributes:
        outputs: The ends of the graph.
        leaves: Its start.
        outs: Numbers a sample of each output.
        widths: Numbers a sample of each leaf.

    Args:
        outputs: Each `(sample, ...)`.
        leaves: Likewise.
        samples: Number of samples.
        suspects: Calls that may keep the graph from being differentiated, for messages.
        widest: Numbers a sample at the widest layer, to bound memory.

    References:
        Johansson 2022, fig. 3.6 (forward and backward mode).

    Example:
        >>> x = torch.tensor([[1.0, -2.0]], requires_grad=True)
        >>> derivative = GraphDerivative([3 * torch.relu(x)], [x], samples=1)
        >>> derivative.formed()
        tensor([[[3., 0.],
                 [0., 0.]]])
    """

    def __init__(
        self,
        outputs: Sequence[torch.Tensor],
        leaves: Sequence[torch.Tensor],
        *,
        samples: int,
        suspects: Sequence[Suspect] = (),
        widest: int = 0,
    ) -> None:
        self.outputs = tuple(outputs)
        self.leaves = tuple(leaves)
        self.outs = [output.numel() // samples for output in outputs]
        self.widths = [leaf.numel() // samples for leaf in leaves]
        self._samples = samples
        self._suspects = suspects
        self._widest = widest

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the first input."""
        return self.leaves[0].dtype

    @cached_property
    def hangs(self) -> bool:
        """Whether any output depends on the input."""
        return any(output.requires_grad for output in self.outputs)

    @cached_property
    def pull(self) -> Pull | None:
        """Random covectors and J^T times them, with the graph between them; None where J = 0."""
        if not self.hangs:
            return None
        with self._context():
            covectors = [random_like(output).requires_grad_() for output in self.outputs]
            pulled = flat(self.grad(self.outputs, self.leaves, covectors, create_graph=True))
        return (covectors, pulled) if pulled.requires_grad else None

    def formed(self) -> torch.Tensor:
        """Return J, formed by rows or by columns, whichever are fewer: `(sample, out, in)`."""
        outs, ins = sum(self.outs), sum(self.widths)
        if outs <= ins and self.hangs:
            return self._units(outs, self.outputs[0], self.back).transpose(0, 1).contiguous()
        pull = self.pull
        if pull is None:
            return torch.zeros(self._samples, outs, ins, dtype=self.dtype, device=self.outputs[0].device)
        return self._units(ins, pull[1], self.push).permute(1, 2, 0).contiguous().to(self.dtype)

    def back(self, covector: torch.Tensor) -> torch.Tensor:
        """Return J^T u.

        Args:
            covector: `(sample, out)`, or several at a time, `(vector, sample, out)`.

        Returns:
            `(sample, in)`, or `(vector, sample, in)`.
        """
        if not self.hangs:
            return covector.new_zeros(*covector.shape[:-1], sum(self.widths), dtype=self.dtype)

        def apply(some: torch.Tensor, batched: bool) -> torch.Tensor:
            parts = [
                part.reshape(*part.shape[:-1], *output.shape[1:])
                for part, output in zip(torch.split(some, self.outs, -1), self.outputs, strict=True)
            ]
            return flat(self.grad(self.outputs, self.leaves, parts, batched=batched), lead=int(batched))

        return self._each(covector.detach().to(self.outputs[0]), apply)

    def push(self, vector: torch.Tensor) -> torch.Tensor:
        """Return J v.

        Args:
            vector: `(sample, in)`, or several at a time, `(vector, sample, in)`.

        Returns:
            `(sample, out)`, or `(vector, sample, out)`.
        """
        pull = self.pull
        if pull is None:
            return vector.new_zeros(*vector.shape[:-1], sum(self.outs), dtype=self.dtype)
        covectors, pulled = pull

        def apply(some: torch.Tensor, batched: bool) -> torch.Tensor:
            parts = self.grad([pulled], covectors, [some], batched=batched)
            return flat(parts, lead=int(batched)).to(self.dtype)

        return self._each(vector.detach().to(pulled), apply)

    def grad(
        self,
        outputs: Sequence[torch.Tensor],
        inputs: Sequence[torch.Tensor],
        covectors: Sequence[torch.Tensor],
        *,
        create_graph: bool = False,
        batched: bool = False,
    ) -> list[torch.Tensor]:
        """Differentiate as `torch.autograd.grad` does, and keep the graph.

        Args:
            outputs: What is differentiated.
            inputs: By what.
            covectors: One for each output.
            create_graph: Whether the result can be differentiated again.
            batched: Whether the covectors have another dim in front.

        Returns:
            For each input; zeros where no output depends on it.

        Raises:
            ObservationError: If a derivative is missing, or the graph is spoiled.
            RuntimeError: Whatever else torch refuses.
        """
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
                    raise ObservationError(refusal(self.outputs, self._suspects, message)) from error
                raise
        lead = covectors[0].shape[:1] if batched else ()
        return [
            part if part is not None else leaf.new_zeros((*lead, *leaf.shape))
            for part, leaf in zip(parts, inputs, strict=True)
        ]

    def _units(self, count: int, like: torch.Tensor, apply: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        # Of every unit vector: (count, sample, ...).
        if not count:
            return like.new_zeros(0, self._samples, 0)
        identity = torch.eye(count, dtype=like.dtype, device=like.device)
        return apply(identity.unsqueeze(1).expand(-1, self._samples, -1))

    def _each(self, vectors: torch.Tensor, apply: Apply) -> torch.Tensor:
        # Many at a time, where there are several.
        if vectors.ndim == 2:
            return apply(vectors, False)
        most = _CHUNK_ON_CPU if vectors.device.type == "cpu" else _CHUNK
        chunk = max(1, most // max(1, self._samples * max(self._widest, sum(self.outs), sum(self.widths))))
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

    @contextlib.contextmanager
    def _context(self) -> Iterator[None]:
        # Differentiation must work whatever the caller's modes are.
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            stack.enter_context(torch.autocast(self.outputs[0].device.type, enabled=False))
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message="There is a performance drop", category=UserWarning)
            yield


def flat(parts: Sequence[torch.Tensor], lead: int = 0) -> torch.Tensor:
    """Flatten what follows the sample dim, and concatenate.

    Args:
        parts: Each `(sample, ...)`, with `lead` dims in front.
        lead: How many.

    Returns:
        `(sample, entry)`, with these dims in front.

    Example:
        >>> flat([torch.zeros(5, 2, 3), torch.zeros(5)]).shape
        torch.Size([5, 7])
    """
    return torch.cat([part.flatten(lead + 1) if part.ndim > lead + 1 else part.unsqueeze(-1) for part in parts], -1)


def random_like(tensor: torch.Tensor) -> torch.Tensor:
    """Draw normal numbers, always the same, on the CPU, so that a verdict does not depend on the device.

    Args:
        tensor: Whose shape, dtype and device they get.

    Returns:
        The numbers.
    """
    generator = torch.Generator().manual_seed(_SEED)
    return torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device, tensor.dtype)
