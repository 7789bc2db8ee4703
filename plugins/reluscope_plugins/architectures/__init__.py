"""Networks to build by name."""

from __future__ import annotations

from reluscope.entries import Architecture
from reluscope.hookspecs import hookimpl

_SUMMARIES = {
    "convnet": "The CIFAR ResNet without its shortcuts",
    "f1": "Fully connected: five hidden layers of 512 units, batch normalisation or not",
    "fixup": "The CIFAR ResNet without normalisation, with fixed-update initialisation",
    "lenet": "Two convolutions with max-pooling and three linear layers",
    "m5": "Four convolutions over raw sound",
    "mlp": "Fully connected layers with an activation after each but the last",
    "monomial": "A product of powers of the inputs: the product gate, one hidden layer or deep",
    "pyramidnet": "A residual network for small images that widens with every block",
    "resnet": "The CIFAR variant of ResNet: versions 1 and 2, any depth 6 n + 2, shortcuts or none",
    "sawtooth": "The mirror map composed n times: 2^n pieces on [0, 1]",
    "small_cnn": "Stacked small convolutions, global average pooling and one linear layer",
    "svd_classifier": "Distance to the singular vectors of each class; fitted, not trained",
    "torchvision": "Any of torchvision's models by name",
    "toynet": "Stacked 3 x 3 convolutions of one width and global average pooling",
    "vgg": "VGG 11, 13, 16 or 19 with one linear layer, batch normalisation or not",
}
_IMAGES = "(sample, channel, height, width)"
_FEATURES = "(sample, feature), or images, which it flattens"
_INPUTS = {
    "f1": _FEATURES,
    "m5": "(sample, channel, time)",
    "mlp": _FEATURES,
    "monomial": "(sample, variable)",
    "sawtooth": "(sample, 1)",
    "svd_classifier": _FEATURES,
}


@hookimpl
def reluscope_architectures() -> list[Architecture]:
    """Return the architectures.

    Returns:
        Their entries.
    """
    return [
        Architecture(
            name=name,
            summary=summary,
            definition=f"reluscope_plugins.architectures.{name}:{name}",
            input=_INPUTS.get(name, _IMAGES),
        )
        for name, summary in _SUMMARIES.items()
    ]
