"""Share of right answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import Count, metric

if TYPE_CHECKING:
    from reluscope.observation import Observation


@metric(dims=(), units="1", minimum=0.0, maximum=1.0, needs={"targets"})
def accuracy(observation: Observation) -> Count:
    r"""Share of samples whose largest logit is that of the label.

    $\frac{1}{N} |\{n : \arg\max_k f(x_n)_k = y_n\}|$. What is kept are counts, so no rounding comes in.

    Args:
        observation: One batch; its output are logits `(sample, class)`, its target labels `(sample,)`.

    Returns:
        The number of right answers, of all samples.
    """
    from reluscope_plugins.performance.labelled_logits import labelled_logits

    logits, labels = labelled_logits(observation, "accuracy")
    return Count((logits.argmax(1) == labels).sum(), of=len(labels))
