"""A classifier made of singular vectors: no weights to train, a basis for each class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reluscope.errors import ObservationError, RecipeError
from reluscope_plugins.architectures.checks import check_size


class SvdClassifier(nn.Module):
    r"""Classifies by the distance to a subspace for each class.

    $\hat y(x) = \arg\min_c \| x - U_c U_c^T x \|$, with $U_c$ the first left singular vectors of the matrix whose
    columns are the training samples of class c. The outputs are minus the squared distances,
    $\|U_c^T x\|^2 - \|x\|^2$, so that the greatest is the answer: no cross entropy should be read from them.

    Its outputs are quadratic in x: not piecewise linear. Only differences of two outputs decide,
    $\|U_c^T x\|^2 - \|U_k^T x\|^2$, so the regions of its answers are bounded by quadric cones. It calls no activation
    function, for which `reluscope.observe` refuses it.

    Args:
        columns: Number of columns of each $U_c$.
        features: Number of values of a sample.
        classes: Number of classes.

    Attributes:
        bases: $U_c$, a buffer `(class, feature, column)`; zeros until `fit` is called.

    References:
        Jeong, Barton and Ramirez 2020 (ICERM), SVD classification, where the minus sign of the objective is missing;
        Hastie and Simard 1998, section 4.
    """

    bases: Tensor

    def __init__(self, columns: int, features: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("bases", torch.zeros(classes, features, columns))

    @torch.no_grad()
    def fit(self, inputs: Tensor, labels: Tensor) -> None:
        """Take the singular vectors of the samples of each class.

        They are the eigenvectors of the class's sum of x x^T, in float64; samples are not centred.

        Args:
            inputs: Samples of any shape, `(sample, ...)`.
            labels: Their classes, int64 `(sample,)`.

        Raises:
            ObservationError: If the samples have another size, or are fewer in a class than there are columns.
        """
        flat = self._flat(inputs)
        classes, _, columns = self.bases.shape
        for label in range(classes):
            chosen = flat[labels == label].double()
            if len(chosen) < columns:
                raise ObservationError(
                    f"class {label} has {len(chosen)} training samples, expected at least as many as there are columns "
                    f"({columns}); take fewer columns"
                )
            _, vectors = torch.linalg.eigh(chosen.T @ chosen)
            self.bases[label] = vectors[:, -columns:].flip(1)

    def forward(self, x: Tensor) -> Tensor:
        """Compare samples with each class.

        Args:
            x: Samples of any shape, `(sample, ...)`.

        Returns:
            Minus the squared distance to the subspace of each class, `(sample, class)`.

        Raises:
            ObservationError: If it was not fitted, or the samples have another size.
        """
        if not self.bases[0, :, 0].any():
            raise ObservationError("the classifier has no bases yet; call fit, or run the procedure 'fit'")
        flat = self._flat(x)
        classes, features, columns = self.bases.shape
        coordinates = flat @ self.bases.transpose(0, 1).reshape(features, classes * columns)
        kept = coordinates.reshape(-1, classes, columns).square().sum(2)
        return kept - flat.square().sum(1, keepdim=True)

    def _flat(self, x: Tensor) -> Tensor:
        if x.dim() < 2 or x[:1].numel() != self.bases.shape[1] * min(len(x), 1):
            raise ObservationError(
                f"the classifier takes samples of {self.bases.shape[1]} values, got a batch of shape {tuple(x.shape)}; "
                "build it with features equal to the number of values of a sample"
            )
        return x.flatten(1)


def svd_classifier(columns: int = 20, *, features: int = 784, classes: int = 10) -> SvdClassifier:
    """Build a classifier by the distance to a subspace for each class; it needs `fit`, and no training.

    Args:
        columns: Number of singular vectors of each class.
        features: Number of values of a sample.
        classes: Number of classes.

    Returns:
        The classifier, without its bases: the procedure `fit` gives it those of the training samples.

    Raises:
        RecipeError: If a value is not an integer of at least 1, or there are more columns than features.

    Example:
        >>> model = svd_classifier(1, features=2, classes=2)
        >>> model.fit(torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1]))
        >>> model(torch.tensor([[5.0, 1.0]])).tolist()
        [[-1.0, -25.0]]
    """
    name = "svd_classifier"
    check_size(name, "classes", classes)
    if check_size(name, "columns", columns) > check_size(name, "features", features):
        raise RecipeError(f"architecture {name!r}: columns is {columns}, expected at most features ({features})")
    return SvdClassifier(columns, features, classes)
