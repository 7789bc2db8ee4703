"""The ReLU is linear as far as its kink."""

from hypothesis import strategies as st


def changes():
    """Return pre-activations, each with a change that is no larger."""
    pairs = st.integers(-100, 100).flatmap(lambda z: st.tuples(st.just(z), st.integers(-abs(z), abs(z))))
    return pairs.map(lambda pair: {"preactivation": pair[0], "change": pair[1]})


def kink_reach(preactivation, change):
    """Return whether relu(z + d) = relu(z) + [z > 0] d."""
    slope = 1 if preactivation > 0 else 0
    return max(preactivation + change, 0) == max(preactivation, 0) + slope * change
