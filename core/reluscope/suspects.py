"""What may keep a network from being affine on a piece: noted by name during the forward pass, judged later."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from reluscope.sites import Activation, argument

_CURVED = frozenset(
    "softmax log_softmax softmin layer_norm group_norm instance_norm local_response_norm rms_norm normalize norm "
    "vector_norm scaled_dot_product_attention multi_head_attention_forward glu lstm gru rnn_tanh rnn_relu lstm_cell "
    "gru_cell exp exp2 expm1 log log2 log10 log1p sqrt rsqrt square pow reciprocal sin cos tan sinh cosh asin acos "
    "atan erf erfc var std var_mean std_mean logsumexp cosine_similarity rtruediv rdiv rpow lp_pool1d lp_pool2d "
    "lp_pool3d gumbel_softmax cumprod prod".split()
)
"""Functions that curve when their argument depends on the input. A hint for messages only: what decides is a test."""

_PRODUCTS = frozenset(
    "mul multiply matmul rmatmul rmul mm bmm mv dot inner outer einsum tensordot addmm addbmm baddbmm addcmul addcdiv "
    "div divide truediv bilinear linear conv1d conv2d conv3d lerp where atan2 hypot cross cdist kron".split()
)
"""Functions that curve when two arguments depend on the input."""

_DRAWS = frozenset(
    "bernoulli rand randn rand_like randn_like randint randint_like randperm normal uniform multinomial exponential "
    "geometric cauchy log_normal poisson binomial gumbel_softmax fractional_max_pool2d fractional_max_pool3d "
    "fractional_max_pool2d_with_indices fractional_max_pool3d_with_indices".split()
)
_DROPOUTS = frozenset(
    "dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout".split()
)


@dataclasses.dataclass(frozen=True)
class Suspect:
    """A call that may keep a network from being affine on a piece.

    Attributes:
        what: The call, for a message.
        remedy: What to do about it.
        certain: Whether it rules an affine map out by itself; else a test of the curvature decides.
        hidden: Whether the graph cannot judge it, so that a look at the values decides.
        node: Its node in the graph, None where it has none.
        where: Site or module path.
        order: Number of the call among all torch calls of the pass.
    """

    what: str
    remedy: str
    certain: bool
    hidden: bool = False
    node: Any = None
    where: str = ""
    order: int = 0

    def __str__(self) -> str:
        return f"{self.what} in {self.where!r}" if self.where else f"{self.what} in the root module"


_EVAL = "call model.eval() first"
_CUT = "ask for the map to a site before it, or replace it by a piecewise-linear one"


def suspect_of(
    function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any, activation: Activation | None
) -> Suspect | None:
    """Judge one call of a torch function.

    Args:
        function: The function.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        result: What it returned.
        activation: What it does if it is an activation.

    Returns:
        None where it is above suspicion.
    """
    name = getattr(function, "__name__", "").strip("_")
    first = result[0] if isinstance(result, tuple | list) and result else result
    node = node_of(first) if isinstance(first, torch.Tensor) else None
    if name in _DRAWS:
        return Suspect(f"the random function {name!r}", _EVAL, certain=True)
    if node is None:
        return None
    if activation is not None:
        if activation.smooth:
            return Suspect(f"the smooth activation {activation.name!r}", _CUT, certain=True, node=node)
        if name.startswith("rrelu") and argument(args, kwargs, 3, "training", False):
            return Suspect("the random slope of 'rrelu'", _EVAL, certain=True, node=node)
        return None
    if name == "batch_norm" and argument(args, kwargs, 5, "training", False):
        return Suspect("batch norm that takes statistics of the batch (train mode)", _EVAL, certain=True, node=node)
    if name in _DROPOUTS and argument(args, kwargs, 1, "p", 0.5) > 0 and argument(args, kwargs, 2, "training", True):
        return Suspect(f"active {name} (train mode)", _EVAL, certain=True, node=node)
    if name.startswith("fake_quantize"):
        return Suspect(f"the straight-through derivative of {name!r}", _CUT, certain=True, node=node)
    if name in _CURVED or (name in _PRODUCTS and _dependent(args, kwargs) > 1):
        return Suspect(f"{name!r}, which is not affine in the input", _CUT, certain=False, node=node)
    return None


def node_of(tensor: torch.Tensor) -> Any:
    """Return the node of the graph that made a tensor.

    Args:
        tensor: Any tensor.

    Returns:
        The node; None of a tensor without one, and of a view made without a graph and written into since, of which
        torch refuses to tell it.
    """
    try:
        return tensor.grad_fn
    except RuntimeError:
        return None


def ancestors(
    outputs: Sequence[torch.Tensor], suspects: Sequence[Suspect], *, certain: bool, hidden: bool = False
) -> Iterator[Suspect]:
    """List the suspects on which tensors depend.

    Args:
        outputs: The tensors.
        suspects: Calls of the pass that made them.
        certain: Those that rule an affine map out by themselves, or those that do not.
        hidden: Those that the graph cannot judge, or those that it can.

    Yields:
        Those of that kind whose node is an ancestor, or that have none.
    """
    chosen = [suspect for suspect in suspects if (suspect.certain, suspect.hidden) == (certain, hidden)]
    if not chosen:
        return
    seen: set[Any] = set()
    stack = [output.grad_fn for output in outputs]
    while stack:
        node = stack.pop()
        if node is not None and node not in seen:
            seen.add(node)
            stack.extend(following for following, _ in node.next_functions)
    yield from (suspect for suspect in chosen if suspect.node is None or suspect.node in seen)


def refusal(
    outputs: Sequence[torch.Tensor],
    suspects: Sequence[Suspect],
    cause: str = "the derivative by the input changes within a piece",
) -> str:
    """Word why tensors are no affine function of the input on a piece.

    Args:
        outputs: The tensors.
        suspects: Calls of the pass that made them.
        cause: What was seen, told where no suspect is known.

    Returns:
        A message that names the first suspect and its remedy.
    """
    suspect = next(ancestors(outputs, suspects, certain=False), None)
    if suspect is None:
        return (
            f"not affine on a piece, by an operation that reluscope cannot name: {cause}; expected a "
            "piecewise-linear network; replace what is smooth"
        )
    return f"not affine on a piece: {suspect}; {suspect.remedy}"


def _dependent(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    flat: list[Any] = []
    for value in (*args, *kwargs.values()):
        flat.extend(value if isinstance(value, tuple | list) else (value,))
    return sum(isinstance(value, torch.Tensor) and value.requires_grad for value in flat)
