"""The pieces that hold the samples of one forward pass: their affine maps, and the walls that bound them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import torch

from reluscope.affine_map import AffineMap
from reluscope.dense_chain import dense_chain
from reluscope.errors import ObservationError, UnknownNameError, nearest
from reluscope.forward_pass import ForwardPass
from reluscope.recorder import Capture
from reluscope.site_tensors import sample_rows
from reluscope.sites import Site
from reluscope.walls import Walls, make_walls


class Pieces:
    """Affine maps and walls of one forward pass, each made when it is first asked for.

    Args:
        passed: The pass.
        site: Name to `Site`, activations and max-pools.
    """

    def __init__(self, passed: ForwardPass, site: Mapping[str, Site]) -> None:
        self._passed = passed
        self._site = site
        self._maps: dict[str | None, AffineMap] = {}
        self._walls: Walls | None = None

    def affine(self, site: str | None = None) -> AffineMap:
        """Return the affine map to the output or to a site.

        Args:
            site: Name of the site, None for the output.

        Returns:
            The map, one for each sample.

        Raises:
            ObservationError: If the pass kept no graph, or there is no such map.
            UnknownNameError: If there is no such site.
        """
        if self._passed.leaves is None:
            raise ObservationError(
                "this observation keeps no graph, so it has no affine map; a metric declares needs={'affine'}, a "
                "caller passes observe(model, x, affine=True)"
            )
        if site not in self._maps:
            sites = [name for name, capture in self._passed.captures.items() if capture.pool is None]
            if site is not None and site not in sites:
                raise UnknownNameError(f"unknown site {site!r}. {nearest(str(site), sites)}")
            # Views made without a graph would be cut off from it.
            with torch.inference_mode(False), torch.enable_grad():
                self._maps[site] = self._make_map(site, self._passed.leaves)
        return self._maps[site]

    def walls(self) -> Walls:
        """Return the walls of all activation sites and max-pools.

        Returns:
            Affine functions that are at least zero on the piece, with their map.

        Raises:
            ObservationError: If the pass kept no graph, or not all walls are known.
        """
        passed = self._passed
        if passed.leaves is None:
            raise ObservationError(
                "this observation keeps no graph, so it has no walls; a metric declares needs={'affine'}, a caller "
                "passes observe(model, x, affine=True)"
            )
        if passed.bend is not None:
            raise ObservationError(
                f"{passed.bend} bends the network, or chooses its path, where no site is, so that not all walls are "
                "known; write it with activations: abs(x) is relu(x) + relu(-x), maximum(a, b) is a + relu(b - a)"
            )
        bent = [capture for name, capture in passed.captures.items() if not self._site[name].smooth]
        if not bent:
            first = next(iter(self._site.values()))
            raise ObservationError(
                f"site {first.name!r} applies {first.activation}, which is smooth, and so do all others, expected a "
                "piecewise-linear network; its pieces have walls, this one has no pieces"
            )
        for capture in bent:
            if self._site[capture.name].positions == 0:
                raise ObservationError(
                    f"site {capture.name!r} has rows that belong to no sample (shape {tuple(capture.shape)} for "
                    f"{passed.samples} samples), so there are no walls of each sample's piece"
                )
            if passed.probe is not None and capture.pool is None:
                self.affine(capture.name).check()
        if self._walls is None:
            with torch.inference_mode(False), torch.enable_grad():
                self._walls = make_walls(bent, passed.samples, self._wall_map)
        return self._walls

    def dense_weights(self, *, output: bool) -> list[torch.Tensor] | None:
        """Return the weights between the sites, where the network is a chain of dense layers with ReLU.

        Args:
            output: Whether the last layer, which no site follows, is wanted too.

        Returns:
            For each site `(unit, unit before)`; None for any other network, and without a graph.
        """
        passed = self._passed
        doubtful = passed.bend is not None or passed.probe is not None
        if passed.leaves is None or doubtful or (output and not isinstance(passed.output, torch.Tensor)):
            return None
        captures = list(passed.captures.values())
        return dense_chain(captures, passed.leaves, passed.samples, passed.output if output else None)

    def _wall_map(self, values: Sequence[torch.Tensor], captures: Sequence[Capture]) -> AffineMap:
        last = max(capture.order for capture in captures)
        return AffineMap(
            values,
            self._passed.leaves or [],
            samples=self._passed.samples,
            suspects=[suspect for suspect in self._passed.suspects if suspect.order < last],
            widest=sum(one.shape[1] for one in values),
            cut=next((capture.cut for capture in captures if capture.cut is not None), None),
        )

    def _make_map(self, site: str | None, leaves: Sequence[torch.Tensor]) -> AffineMap:
        passed, samples = self._passed, self._passed.samples
        if site is None:
            result, what, order, cut = passed.output, "the output", sys.maxsize, passed.cut
            if not isinstance(result, torch.Tensor):
                raise ObservationError(
                    f"the model returns {type(result).__name__}, expected one tensor for an affine map; wrap the model "
                    "so that it returns one, or ask for the map to a site"
                )
        else:
            capture = passed.captures[site]
            result, what, order, cut = capture.values, f"site {site!r}", capture.order, capture.cut
            result = sample_rows(result, capture, samples)
        if result.ndim == 0 or result.shape[0] % samples or (site is None and result.shape[0] != samples):
            raise ObservationError(
                f"{what} has shape {tuple(result.shape)} for {samples} samples, expected samples first; there is no "
                "affine map of each sample"
            )
        if not leaves:
            raise ObservationError(
                "the input holds no floating-point tensor, so there is no affine map; pass what comes after an "
                "embedding"
            )
        return AffineMap(
            [result.reshape(samples, -1)],
            leaves,
            samples=samples,
            suspects=[suspect for suspect in passed.suspects if suspect.order < order],
            widest=max([capture.shape.numel() for capture in passed.captures.values()], default=0) // samples,
            cut=cut,
            probe=passed.probe,
            target=site,
        )
