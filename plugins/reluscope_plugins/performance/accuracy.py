"""Share of right answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import metric

if TYPE_CHECKING:
    from reluscope.observation import Observation


@metric(dims=(), units="1", minimum=0.0, maximum=1.0, needs={"targets"})
class accuracy:
    r"""Share of samples whose largest logit is that of the label.

    $\frac{1}{N} |\{n : \arg\max_k f(x_n)_k = y_n\}|$. What is kept are counts, so no rounding comes in.
    """

    def measure(self, observation: Observation) -> dict[str, int]:
        """Count right answers.

        Args:
            observation: One batch; its output are logits `(sample, class)`, its target labels `(sample,)`.

        Returns:
            The number of right answers and of samples.
        """
        from reluscope_plugins.performance.labelled_logits import labelled_logits

        logits, labels = labelled_logits(observation, "accuracy")
        return {"right": int((logits.argmax(1) == labels).sum()), "samples": labels.numel()}

    def merge(self, first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
        """Add counts.

        Args:
            first: One state.
            second: Another.

        Returns:
            The state of both.
        """
        return {key: first[key] + second[key] for key in first}

    def finish(self, state: dict[str, int]) -> float:
        """Divide.

        Args:
            state: The state of all data.

        Returns:
            The share.
        """
        return state["right"] / state["samples"]
