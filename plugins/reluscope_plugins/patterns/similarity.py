"""How the patterns of two moments differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import metric
from reluscope_plugins.patterns.total import COUNTS

if TYPE_CHECKING:
    import xarray as xr

    from reluscope_plugins.patterns.counts import Distribution

    Found = dict[str, Distribution]


@metric(dims=("site",), units="1", minimum=-1.0, needs={"patterns"}, of=COUNTS, compared_with="previous")
def pattern_changes(found: Found, before: Found) -> dict[str, float]:
    r"""Relative growth of the number of distinct patterns since the moment before.

    $(\sum_i \delta_{>0}(c'_i) - \sum_i \delta_{>0}(c_i)) / \sum_i \delta_{>0}(c_i)$ with the counts $c$ before and $c'$
    now: positive where new patterns outnumber those that are gone. The source prints the numerator with the opposite
    sign and leaves open which of the two counts divides; it calls this the symmetric difference, of which it is only
    the balance: see `pattern_turnover`.

    Args:
        found: Site to its distribution of patterns now.
        before: The same at the moment measured before.

    Returns:
        Site to the relative growth.

    References:
        Hartmann 2025, eq. 3.6.
    """
    return {site: patterns.distinct / before[site].distinct - 1.0 for site, patterns in found.items() if site in before}


@metric(
    dims=("site",),
    units="1",
    minimum=0.0,
    maximum=1.0,
    needs={"patterns"},
    of=COUNTS,
    compared_with="previous",
)
def pattern_turnover(found: Found, before: Found) -> dict[str, float]:
    r"""Share of patterns that came or went since the moment before.

    $|P \triangle P'| / |P \cup P'|$ for the sets of patterns $P$ before and $P'$ now: what the source describes in
    words beside its eq. 3.6.

    Args:
        found: Site to its distribution of patterns now.
        before: The same at the moment measured before.

    Returns:
        Site to the share.

    References:
        Hartmann 2025, section 3.1.2, Activation Pattern Changes.
    """
    from reluscope_plugins.patterns.table import shared

    shares = {}
    for site, patterns in found.items():
        if site in before:
            common = len(shared(patterns.table, before[site].table)[0])
            union = patterns.distinct + before[site].distinct - common
            shares[site] = 1.0 - common / union
    return shares


@metric(
    dims=("site",),
    units="1",
    minimum=0.0,
    maximum=1.0,
    needs={"patterns"},
    of=COUNTS,
    compared_with="first",
)
def pattern_jaccard_first(found: Found, first: Found) -> dict[str, float]:
    r"""Weighted Jaccard similarity of a site's patterns to those of the first moment.

    $\sum_i \min(c_i, c'_i) / \sum_i \max(c_i, c'_i)$ with the counts $c$ then and $c'$ now: 1 where all patterns occur
    equally often, 0 where none is common. Both moments should be measured on the same samples.

    Args:
        found: Site to its distribution of patterns now.
        first: The same at the first moment.

    Returns:
        Site to the similarity.

    References:
        Hartmann 2025, eq. 3.7.
    """
    return jaccard(found, first)


@metric(
    dims=("site",),
    units="1",
    minimum=0.0,
    maximum=1.0,
    needs={"patterns"},
    of=COUNTS,
    compared_with="previous",
)
def pattern_jaccard_previous(found: Found, before: Found) -> dict[str, float]:
    """Weighted Jaccard similarity of a site's patterns to those of the moment before.

    As `pattern_jaccard_first`, with the moment measured before.

    Args:
        found: Site to its distribution of patterns now.
        before: The same at the moment measured before.

    Returns:
        Site to the similarity.

    References:
        Hartmann 2025, eq. 3.7.
    """
    return jaccard(found, before)


@metric(
    dims=("site",),
    units="1",
    minimum=0.0,
    maximum=1.0,
    needs={"patterns"},
    of=COUNTS,
    compared_with="last",
)
def pattern_jaccard_last(found: Found, last: Found) -> dict[str, float]:
    """Weighted Jaccard similarity of a site's patterns to those of the last moment.

    As `pattern_jaccard_first`, with the last moment: how far the patterns have converged. Each moment's counts are kept
    until the run ends, so one run suffices; patterns of more than 64 bits as their hashes, also where the count is
    `exact`.

    Args:
        found: Site to its distribution of patterns.
        last: The same at the last moment.

    Returns:
        Site to the similarity.

    References:
        Hartmann 2025, eq. 3.7.
    """
    return jaccard(found, last)


def jaccard(found: Found, other: Found) -> dict[str, float]:
    """Compare two moments by the weighted Jaccard similarity.

    Args:
        found: Site to its distribution of patterns.
        other: The same at another moment.

    Returns:
        Site to the similarity, for the sites of both.

    References:
        Hartmann 2025, eq. 3.7.
    """
    import numpy as np

    from reluscope_plugins.patterns.table import shared

    similarities = {}
    for site, patterns in found.items():
        if site in other:
            least = int(np.minimum(*shared(patterns.table, other[site].table)).sum())
            similarities[site] = least / (patterns.samples + other[site].samples - least)
    return similarities


def between_moments(table: xr.Dataset, dim: str) -> xr.DataArray:
    r"""Compare each moment of a recorded run with each other one by the weighted Jaccard similarity.

    The tables are there where the run measured a metric that compares with the last moment, such as
    `pattern_jaccard_last`. Two moments are held in memory at a time, beside the table itself.

    Args:
        table: Group of an archive that holds the counts, such as `tree["pattern_counts_epoch"].to_dataset()`; with the
            dims of a sweep, or without.
        dim: The dim of the moments, `"epoch"` or `"step"`.

    Returns:
        The similarity `(*sweep, epoch, other_epoch, site)`: symmetric, 1 where a moment meets itself, NaN where a
        moment was not recorded or a network has no such site.

    Raises:
        ObservationError: If it is no table of counts, or has no such dim.

    References:
        Hartmann 2025, eq. 3.7.

    Example:
        >>> import reluscope as rs
        >>> recipe = {
        ...     "title": "Any two epochs",
        ...     "procedure": "train",
        ...     "epochs": 2,
        ...     "dataset": {"name": "digits"},
        ...     "architecture": {"name": "mlp", "widths": [64, 16, 10]},
        ...     "optimizer": {"name": "sgd", "learning_rate": 0.1},
        ...     "scheduler": {"name": "constant"},
        ...     "metrics": [{"name": "pattern_jaccard_last", "samples": 100}],
        ... }
        >>> similarity = between_moments(rs.run(recipe)["pattern_counts_epoch"].to_dataset(), "epoch")
        >>> similarity.dims, similarity.sel(epoch=2, other_epoch=2).values.tolist()
        (('epoch', 'other_epoch', 'site'), [1.0])
    """
    import itertools

    import numpy as np
    import xarray as xr

    from reluscope.errors import ObservationError, nearest
    from reluscope_plugins.patterns.counts import Distribution, pattern_counts

    missing = [name for name in ("pattern_key", "pattern_count", "pattern_bits") if name not in table]
    if missing:
        raise ObservationError(
            f"between_moments: the data set has no {missing[0]!r}, expected a table of pattern counts; pass the group "
            "that a run with pattern_jaccard_last wrote, such as tree['pattern_counts_epoch'].to_dataset()"
        )
    others = [str(name) for name in table["pattern_key"].dims if name != "pattern"]
    if dim not in others:
        raise ObservationError(f"between_moments: the table has no dim {dim!r}. {nearest(dim, others)}")
    others.remove(dim)
    places = range(table.sizes[dim])
    sites = [str(site) for site in table["site"].values]
    values = np.full((*(table.sizes[other] for other in others), len(places), len(places), len(sites)), np.nan)

    def found(moment: xr.Dataset, place: int) -> Found:
        state = pattern_counts().restored(moment.isel({dim: place}))
        return {site: Distribution(counts) for site, counts in state.items()}

    for point in itertools.product(*(range(table.sizes[other]) for other in others)):
        moments = table.isel(dict(zip(others, point, strict=True)))
        for first in places:
            one = found(moments, first)
            for second in range(first, len(places)):
                for site, similarity in jaccard(one, found(moments, second)).items():
                    for pair in ((first, second), (second, first)):
                        values[(*point, *pair, sites.index(site))] = similarity
    labels = {name: table[name] for name in (*others, dim, "site")}
    other_labels = (f"other_{dim}", table[dim].values, {**table[dim].attrs})
    return xr.DataArray(
        values,
        dims=(*others, dim, f"other_{dim}", "site"),
        coords={**labels, f"other_{dim}": other_labels},
        name="pattern_jaccard",
        attrs={"long_name": "Weighted Jaccard similarity of the patterns of two moments", "units": "1"},
    )
