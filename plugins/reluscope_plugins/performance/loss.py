"""Cross entropy of a classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import metric

if TYPE_CHECKING:
    from torch import Tensor

    from reluscope.observation import Observation


@metric(dims=(), units="nat", minimum=0.0, needs={"targets"})
def loss(observation: Observation) -> Tensor:
    r"""Cross entropy of output and label, mean over samples.

    $-\frac{1}{N} \sum_n \log \operatorname{softmax}(f(x_n))_{y_n}$, in float64 whatever the network's dtype.

    Args:
        observation: One batch; its output are logits `(sample, class)`, its target labels `(sample,)`.

    Returns:
        The mean over the batch, in nats.
    """
    from torch.nn.functional import cross_entropy

    from reluscope_plugins.performance.labelled_logits import labelled_logits

    logits, labels = labelled_logits(observation, "loss")
    return cross_entropy(logits.double(), labels)
