"""Counts of activation patterns: the states that the metrics of patterns share."""

from __future__ import annotations

import math
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr

from reluscope.errors import ObservationError
from reluscope_plugins.patterns.keys import check_seed, global_keys, row_keys
from reluscope_plugins.patterns.multiplicities import Multiplicities, multiplicities
from reluscope_plugins.patterns.table import (
    Table,
    add,
    chunks,
    copied,
    count,
    counted,
    empty,
    entries,
    merged,
    of_words,
)

if TYPE_CHECKING:
    from reluscope.observation import Observation

State = dict[str, Any]


class Distribution:
    """How often each pattern was seen, in order.

    What is not asked for is not made: the number of distinct patterns and what an entropy needs take no second table.

    Args:
        table: The count; not to be changed as long as this lives.

    Attributes:
        bits: Bits of a pattern.
        limit: Bits that its entropy cannot exceed.
        samples: Number of samples counted; a convolution's positions count as samples.
        exact: Whether patterns of more than 64 bits were kept whole.
        table: The count.
    """

    def __init__(self, table: Table) -> None:
        self.bits = int(table["bits"])
        self.limit = float(table["limit"])
        self.samples = int(table["rows"])
        self.exact = bool(table["exact"])
        self.table = table

    @cached_property
    def counts(self) -> Any:
        """How often each distinct pattern was seen, in the order of the patterns, `(pattern,)`."""
        return np.concatenate([np.zeros(0, np.uint32), *(counts for _, counts in chunks(self.table))])

    @cached_property
    def multiplicities(self) -> Multiplicities:
        """How many patterns were seen how often."""
        parts = [multiplicities(counts) for _, counts in chunks(self.table)]
        if len(parts) < 2:
            return parts[0] if parts else multiplicities([])
        count, place = np.unique(np.concatenate([part.count for part in parts]), return_inverse=True)
        patterns = np.zeros(len(count), np.int64)
        np.add.at(patterns, place, np.concatenate([part.patterns for part in parts]))
        return Multiplicities(count, patterns)

    @property
    def distinct(self) -> int:
        """Number of distinct patterns."""
        return self.multiplicities.distinct


class pattern_counts:
    """How often each site has each activation pattern: a streaming, exact, mergeable count.

    A convolution's positions count as samples. Patterns of up to 64 bits are kept as they are, longer ones as 64-bit
    hashes, which for two different patterns agree with probability 2^-64; `exact` keeps those whole too.

    Args:
        exact: Whether patterns of more than 64 bits are kept whole: nothing can collide, memory grows with their width.
        seed: Seed of the hash. Only counts of one seed can be merged or compared.

    References:
        Hartmann 2025, definition 4, eq. 3.3 and 3.4; the fixed-size list of its algorithm 2 is not used.
    """

    def __init__(self, *, exact: bool = False, seed: int = 0) -> None:
        self.exact = exact
        check_seed(seed)
        self.seed = seed

    def measure(self, observation: Observation) -> State:
        """Count one batch.

        Args:
            observation: One batch.

        Returns:
            Site to its table: see `reluscope_plugins.patterns.table`.
        """
        return {site: self._counted(observation, site) for site in observation.sites}

    def update(self, state: State, observation: Observation) -> None:
        """Count one batch into a state, in place.

        Args:
            state: Site to its table; changed.
            observation: One batch.
        """
        for site in observation.sites:
            if site in state and state[site]["bits"] == _size(observation, site)["bits"]:
                count(state[site], observation.packed[site])
            elif site in state:
                add(state[site], self._counted(observation, site))  # refuses
            else:
                state[site] = self._counted(observation, site)

    def merge(self, first: State, second: State) -> State:
        """Add two counts.

        Args:
            first: One state.
            second: Another.

        Returns:
            The counts of both.
        """
        return _merged(first, second)

    def finish(self, state: State) -> dict[str, Distribution]:
        """Put the counts into order.

        Args:
            state: Site to its table.

        Returns:
            Site to its distribution of patterns.
        """
        return {site: Distribution(table) for site, table in state.items()}

    def kept(self, state: State) -> xr.Dataset:
        """Lay a state out for an archive.

        Args:
            state: Site to its table.

        Returns:
            Ragged, one entry for each distinct pattern of each site: `pattern_key(pattern)`, `pattern_count(pattern)`,
            `pattern_site(pattern)`, which is the `pattern_site_number(site)` of its site; and `pattern_bits(site)`.
        """
        sites, keys, counts = list(state), [], []
        for site in sites:
            words, seen = entries(state[site])
            if words.ndim == 2:
                bytes_of = torch.from_numpy(words.view(np.uint8))
                words, seen = _summed(row_keys(bytes_of, seed=self.seed), seen)
            keys.append(words)
            counts.append(seen)
        owner = np.repeat(np.arange(len(sites), dtype=np.int32), [len(words) for words in keys])
        none = [np.zeros(0, np.uint64)]
        data = {
            "pattern_key": ("pattern", np.concatenate(keys or none).astype(np.uint64), "Pattern, or its 64-bit hash"),
            "pattern_count": ("pattern", np.concatenate(counts or none).astype(np.uint64), "Times it was seen"),
            "pattern_site": ("pattern", owner, "Number of its site"),
            # by number, for the place along `site` is another where networks of several sites are joined
            "pattern_site_number": ("site", np.arange(len(sites), dtype=np.int64), "Number of the site in its network"),
            "pattern_bits": ("site", np.array([state[site]["bits"] for site in sites], np.int64), "Bits of a pattern"),
        }
        coords = {"site": ("site", np.array(sites, np.str_), {"long_name": "activation site", "units": "1"})}
        return xr.Dataset(
            {name: (dim, values, {"long_name": text, "units": "1"}) for name, (dim, values, text) in data.items()},
            coords,
            {"hash_seed": self.seed},
        )

    def restored(self, data: xr.Dataset) -> State:
        """Undo `kept`.

        Args:
            data: One moment of what `kept` laid out; entries that were never seen fill it up.

        Returns:
            Site to its table. Patterns of more than 64 bits are there as hashes.
        """
        seen = data["pattern_count"].values > 0
        keys, counts, owner = (data[name].values[seen] for name in ("pattern_key", "pattern_count", "pattern_site"))
        state = {}
        numbers, widths = data["pattern_site_number"].values, data["pattern_bits"].values
        for site, number, bits in zip(map(str, data["site"].values), numbers, widths, strict=True):
            if np.isnan(bits):
                continue
            mine = owner == number
            state[site] = table = empty(int(bits), seed=int(data.attrs.get("hash_seed", self.seed)))
            if mine.any():
                table["words"], table["counts"] = [keys[mine].astype(np.uint64)], [counts[mine].astype(np.uint64)]
                table["rows"] = int(counts[mine].sum())
        return state

    def _counted(self, observation: Observation, site: str) -> Table:
        return counted(observation.packed[site], seed=self.seed, exact=self.exact, **_size(observation, site))


class global_pattern_counts:
    """How often the whole network has each global pattern: that of all sites, and of all their positions.

    It is kept as a 64-bit hash. Two different global patterns share one with probability at most 2^-64.

    Args:
        seed: Seed of the hash. Only counts of one seed can be merged.

    References:
        Hartmann 2025, definition 3.
    """

    def __init__(self, *, seed: int = 0) -> None:
        check_seed(seed)
        self.seed = seed

    def measure(self, observation: Observation) -> Table:
        """Count one batch.

        Args:
            observation: One batch.

        Returns:
            The table.
        """
        sizes = [(_size(observation, site), observation.site[site].positions) for site in observation.sites]
        bits = sum(size["bits"] * positions for size, positions in sizes)
        limit = sum(size["limit"] * positions for size, positions in sizes)
        keys = global_keys(observation, seed=self.seed)
        # never fewer than 65 bits: keys of global patterns are always hashes
        return of_words(keys, max(65, bits), limit=limit, seed=self.seed)

    def update(self, state: Table, observation: Observation) -> None:
        """Count one batch into a state, in place.

        Args:
            state: The table; changed.
            observation: One batch.
        """
        add(state, self.measure(observation))

    def merge(self, first: Table, second: Table) -> Table:
        """Add two counts.

        Args:
            first: One state.
            second: Another.

        Returns:
            The counts of both.
        """
        return merged(first, second)

    def finish(self, state: Table) -> Distribution:
        """Put the counts into order.

        Args:
            state: The table.

        Returns:
            The distribution of global patterns.
        """
        return Distribution(state)


class class_pattern_counts:
    """How often each site has each activation pattern on the samples of each class.

    Args:
        exact: Whether patterns of more than 64 bits are kept whole.
        seed: Seed of the hash.
    """

    def __init__(self, *, exact: bool = False, seed: int = 0) -> None:
        self.exact = exact
        check_seed(seed)
        self.seed = seed

    def measure(self, observation: Observation) -> State:
        """Count one batch.

        Args:
            observation: One batch, with integer labels `(sample,)`.

        Returns:
            Site to class to its table.

        Raises:
            ObservationError: If the labels are not integers, one for each sample, or a site's rows belong to no sample.
        """
        labels = observation.target
        if not isinstance(labels, torch.Tensor) or labels.shape != (observation.samples,) or labels.is_floating_point():
            got = type(labels).__name__
            if isinstance(labels, torch.Tensor):
                got = f"shape {tuple(labels.shape)} of {labels.dtype}"
            raise ObservationError(
                f"targets: got {got}, expected integer labels, one for each of {observation.samples} samples"
            )
        state: State = {}
        classes = torch.unique(labels).tolist()
        for site in observation.sites:
            about = observation.site[site]
            packed = observation.packed[site]
            if not about.positions:
                raise ObservationError(
                    f"site {site!r}: its rows do not belong to samples, so they have no class; measure another network"
                )
            of_row = labels.to(packed.device).repeat_interleave(about.positions)
            state[site] = {
                str(label): counted(
                    packed[of_row == label], seed=self.seed, exact=self.exact, **_size(observation, site)
                )
                for label in classes
            }
        return state

    def update(self, state: State, observation: Observation) -> None:
        """Count one batch into a state, in place.

        Args:
            state: Site to class to its table; changed.
            observation: One batch, with integer labels `(sample,)`.
        """
        for site, tables in self.measure(observation).items():
            mine = state.setdefault(site, {})
            for label, table in tables.items():
                if label in mine:
                    add(mine[label], table)
                else:
                    mine[label] = table

    def merge(self, first: State, second: State) -> State:
        """Add two counts.

        Args:
            first: One state.
            second: Another.

        Returns:
            The counts of both.
        """
        return {
            site: _merged(first.get(site, {}), second.get(site, {}))
            for site in [*first, *(site for site in second if site not in first)]
        }

    def finish(self, state: State) -> dict[str, dict[str, Distribution]]:
        """Put the counts into order.

        Args:
            state: Site to class to its table.

        Returns:
            Site to class to its distribution of patterns; the key "" stands for all classes together.
        """
        return {
            site: {
                **{label: Distribution(table) for label, table in tables.items()},
                "": Distribution(reduce(merged, tables.values())),
            }
            for site, tables in state.items()
        }


# Of tables by name; what only one has is copied too, or an update of the merged state would change that one.
def _merged(first: dict[str, Table], second: dict[str, Table]) -> dict[str, Table]:
    return {
        **{name: merged(table, second[name]) if name in second else copied(table) for name, table in first.items()},
        **{name: copied(table) for name, table in second.items() if name not in first},
    }


def _size(observation: Observation, site: str) -> dict[str, Any]:
    about = observation.site[site]
    return {"bits": about.bits * about.units, "limit": about.units * math.log2(max(2, about.states))}


def _summed(words: Any, counts: Any) -> tuple[Any, Any]:
    # whole patterns became keys, which may collide
    found, place = np.unique(words, return_inverse=True)
    totals = np.zeros(len(found), np.uint64)
    np.add.at(totals, place, counts.astype(np.uint64))
    return found, totals
