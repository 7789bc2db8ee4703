"""What the label tells of the pattern: entropy given the class, and mutual information."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from reluscope.errors import ObservationError
from reluscope_plugins.patterns.estimators import corrected_entropy, plug_in_entropy
from reluscope_plugins.patterns.multiplicities import SATURATED_SHARE, Multiplicities


@dataclasses.dataclass(frozen=True)
class LabelInformation:
    """Mutual information of pattern and label.

    Attributes:
        plug_in: Of the samples at hand, bits.
        corrected: Of the distribution they come from, bits.
        saturated: Whether nearly every sample has a pattern that its class shows once: then both measure the sample.
    """

    plug_in: float
    corrected: float
    saturated: bool


def entropy_given_label(
    classes: Sequence[Multiplicities], *, corrected: bool = False, limit: float = math.inf
) -> float:
    r"""Entropy of the pattern that is left when the label is known.

    $H(A | Y) = \sum_y \frac{n_y}{n} H(A | Y = y)$, where $n_y$ of the $n$ samples are of class $y$.

    Args:
        classes: For each class, how many patterns were seen how often among its samples; a class may have none.
        corrected: Whether to correct each class for the patterns not seen.
        limit: Bits that the entropy cannot exceed: the number of units of a site with two states a unit.

    Returns:
        Bits.

    References:
        Cover and Thomas (2006), Elements of Information Theory, eq. 2.10.

    Example:
        >>> from reluscope_plugins.patterns.multiplicities import multiplicities
        >>> entropy_given_label([multiplicities([4, 4]), multiplicities([8])])
        0.5
    """
    samples = _samples(classes)
    entropies = [
        (found.samples / samples, corrected_entropy(found, limit=limit) if corrected else plug_in_entropy(found))
        for found in classes
        if found.samples
    ]
    return math.fsum(share * entropy for share, entropy in entropies)


def label_entropy(classes: Sequence[Multiplicities]) -> float:
    """Entropy of the label.

    Args:
        classes: For each class, how many patterns were seen how often among its samples.

    Returns:
        Bits, of the samples at hand.

    Example:
        >>> from reluscope_plugins.patterns.multiplicities import multiplicities
        >>> label_entropy([multiplicities([4, 4]), multiplicities([8])])
        1.0
    """
    samples = _samples(classes)
    sizes = [found.samples for found in classes if found.samples]
    return math.fsum(size / samples * math.log2(samples / size) for size in sizes)


def saturated_given_label(classes: Sequence[Multiplicities]) -> bool:
    r"""Say whether nearly every sample has a pattern that its class shows once.

    Where all have, $H(A | Y)$ is $\sum_y \frac{n_y}{n} \log_2 n_y$, and, the patterns being distinct across classes
    too, the mutual information is the entropy of the label, whatever the network does. This comes earlier than the
    saturation of all samples together, as each class has fewer.

    Args:
        classes: For each class, how many patterns were seen how often among its samples.

    Returns:
        Whether the share is at least `SATURATED_SHARE`.

    Example:
        >>> from reluscope_plugins.patterns.multiplicities import multiplicities
        >>> saturated_given_label([multiplicities([1, 1, 1]), multiplicities([1, 1])])
        True
    """
    return sum(found.seen(1) for found in classes) >= SATURATED_SHARE * _samples(classes)


def label_information(
    together: Multiplicities, classes: Sequence[Multiplicities], *, limit: float = math.inf
) -> LabelInformation:
    r"""Mutual information of pattern and label.

    $I(A; Y) = H(A) - H(A | Y)$. Plug-in values lie between 0 and $\min(H(A), H(Y))$ by themselves, and are clipped
    there for rounding only. The corrected value is the difference of two corrected entropies, which may lie outside: it
    is clipped to 0 and $\min(H(A), H(Y))$ with the corrected $H(A)$, so that its expectation at independence is above
    0.

    What is left of its bias is upwards, since a class has fewer samples than all have and loses more of its rare
    patterns. Of independent labels, 10 classes, 10,000 samples (20 draws): uniform on 2^10 patterns, plug-in 0.77 bits,
    corrected 0.01; 16 biased bits, 0.62 and 0.19; Zipf with exponent 1 on 10^5, 1.63 and 0.85. So a value above 0 shows
    no dependence by itself; compare with the value after shuffling the labels.

    Args:
        together: How many patterns were seen how often among all samples.
        classes: The same for each class; a class may have no samples.
        limit: Bits that an entropy cannot exceed: the number of units of a site with two states a unit.

    Returns:
        Plug-in and corrected value in bits, and whether they are saturated.

    Raises:
        ObservationError: If the classes do not add up to all samples.

    References:
        Cover and Thomas (2006), Elements of Information Theory, eq. 2.43.

    Example:
        >>> from reluscope_plugins.patterns.multiplicities import multiplicities
        >>> label_information(multiplicities([40, 40]), [multiplicities([40]), multiplicities([40])]).plug_in
        1.0
    """
    samples = _samples(classes)
    if together.samples != samples:
        raise ObservationError(
            f"got {together.samples:,} samples together and {samples:,} in the classes, expected as many; "
            "count both over the same samples"
        )
    of_label = label_entropy(classes)
    plug_in = plug_in_entropy(together)
    corrected = corrected_entropy(together, limit=limit)
    return LabelInformation(
        plug_in=_clipped(plug_in - entropy_given_label(classes), min(plug_in, of_label)),
        corrected=_clipped(
            corrected - entropy_given_label(classes, corrected=True, limit=limit), min(corrected, of_label)
        ),
        saturated=saturated_given_label(classes),
    )


def _clipped(value: float, most: float) -> float:
    return min(max(value, 0.0), most)


def _samples(classes: Sequence[Multiplicities]) -> int:
    samples = sum(found.samples for found in classes)
    if samples == 0:
        raise ObservationError(f"got {len(classes)} classes without samples, expected at least one sample")
    return samples
