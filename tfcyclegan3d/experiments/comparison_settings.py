"""Which seeds a comparison can have, and which settings are its own: refused without waiting for TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfcyclegan3d import errors
from tfcyclegan3d.config import SEEDS

ITS_OWN = {
    "seed": "give the first seed with --seed and their number with --seeds",
    "method": "choose methods with --methods",
    "preset": "give it with --preset",
}


def check_changes(changes: Mapping[str, object]) -> None:
    """Refuse settings that would make cells of several methods or seeds the same.

    Raises
    ------
    OptionError
    """
    for key, remedy in ITS_OWN.items():
        if key in changes:
            raise errors.OptionError("--set", f"{key}={changes[key]}", remedy)


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds that no configuration takes, and none at all.

    Raises
    ------
    OptionError
    """
    if not seeds:
        raise errors.OptionError("--seeds", 0, "give at least 1")
    # Of a range the ends are enough, and all there is time for.
    for seed in (seeds[0], seeds[-1]) if isinstance(seeds, range) else seeds:
        if not 0 <= seed < SEEDS:
            raise errors.OptionError("--seed and --seeds", seed, f"seeds are 0 to {SEEDS - 1}")
