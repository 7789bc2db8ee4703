"""What is known of the built-in data sets before they are loaded: class names, shapes, normalisation, where from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType


@dataclasses.dataclass(frozen=True)
class Constants:
    """What is known of a data set.

    Attributes:
        classes: Class names in the order of the labels; empty where the files tell.
        shape: Shape of one sample, channels first; empty where the files tell.
        mean: Mean of each channel over the training images, values scaled to 0..1; empty where none.
        std: Standard deviation likewise.
        licence: Under which licence the data are.
        source: Author, year, and address.
    """

    classes: tuple[str, ...]
    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str
    source: str


DIGITS = Constants(
    classes=tuple("0123456789"),
    shape=(1, 8, 8),
    mean=(0.3050,),
    std=(0.3763,),
    licence="CC BY 4.0",
    source="Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, "
    "https://archive.ics.uci.edu/dataset/80, the test part as scikit-learn has it",
)

MNIST = Constants(
    classes=tuple("0123456789"),
    shape=(1, 28, 28),
    mean=(0.1307,),
    std=(0.3081,),
    licence="CC BY-SA 3.0",
    source="LeCun, Cortes and Burges 1998, The MNIST database, http://yann.lecun.com/exdb/mnist/",
)

FASHION_MNIST = Constants(
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    shape=(1, 28, 28),
    mean=(0.2860,),
    std=(0.3530,),
    licence="MIT",
    source="Xiao, Rasul and Vollgraf 2017, Fashion-MNIST, https://github.com/zalandoresearch/fashion-mnist",
)

CIFAR10 = Constants(
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    shape=(3, 32, 32),
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    licence="none stated; cite Krizhevsky 2009",
    source="Krizhevsky 2009, Learning multiple layers of features from tiny images, "
    "https://www.cs.toronto.edu/~kriz/cifar.html",
)

CIFAR100 = Constants(
    classes=tuple(
        """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle
        bowl boy bridge bus butterfly camel can castle caterpillar cattle
        chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
        dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
        lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
        mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
        plain plate poppy porcupine possum rabbit raccoon ray road rocket
        rose sea seal shark shrew skunk skyscraper snail snake spider
        squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
        train trout tulip turtle wardrobe whale willow_tree wolf woman worm
        """.split()
    ),
    shape=(3, 32, 32),
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
    licence="none stated; cite Krizhevsky 2009",
    source="Krizhevsky 2009, Learning multiple layers of features from tiny images, "
    "https://www.cs.toronto.edu/~kriz/cifar.html",
)

TINY_IMAGENET = Constants(
    classes=(),
    shape=(3, 64, 64),
    mean=(0.4802, 0.4481, 0.3975),
    std=(0.2770, 0.2691, 0.2821),
    licence="none stated; images of ImageNet: for research that is not commercial, at one's own risk",
    source="Le and Yang 2015, Tiny ImageNet visual recognition challenge, "
    "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
)

IMAGENET = Constants(
    classes=(),
    shape=(3, 224, 224),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    licence="ImageNet's terms of access: for research that is not commercial",
    source="Russakovsky et al. 2015, ImageNet large scale visual recognition challenge, https://image-net.org",
)

SPEECH_COMMANDS = Constants(
    classes=(),
    shape=(),
    mean=(),
    std=(),
    licence="CC BY 4.0; other recordings in the same layout: their own",
    source="Warden 2018, Speech Commands, http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
)

CHECKERBOARD = Constants(
    classes=tuple("0123"),
    shape=(2,),
    mean=(),
    std=(),
    licence="none needed: drawn anew from a seed",
    source="Hartmann 2025, appendix A.2.2, drawn from a seed",
)

KNOWN: Mapping[str, Constants] = MappingProxyType(
    {
        "digits": DIGITS,
        "mnist": MNIST,
        "fashion_mnist": FASHION_MNIST,
        "cifar10": CIFAR10,
        "cifar100": CIFAR100,
        "tiny_imagenet": TINY_IMAGENET,
        "imagenet": IMAGENET,
        "speech_commands": SPEECH_COMMANDS,
        "checkerboard": CHECKERBOARD,
    }
)
"""Name of a built-in data set to what is known of it."""
