"""Numbers and intervals of a prior: each function returns its value as it is kept, or says what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tfcyclegan3d import errors

Interval = tuple[float, float]
Triple = tuple[float, float, float]


def is_number(value: object) -> bool:
    """Return whether a value is a finite int or float; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def interval(value: object, where: str, above: float | None = None, below: float | None = None) -> Interval:
    """Return (low, high) of two numbers that lie above and below the limits.

    Raises
    ------
    PriorError
    """
    if not isinstance(value, Sequence) or len(value) != 2 or not all(is_number(one) for one in value):
        raise errors.PriorError(f"{where} received {value!r}", "give two numbers, low and high")
    low, high = float(value[0]), float(value[1])
    if low > high:
        raise errors.PriorError(f"{where} received the empty interval {value!r}", "put the lower number first")
    if (above is not None and low <= above) or (below is not None and high >= below):
        limits = f"above {above:g}" + (f" and below {below:g}" if below is not None else "")
        raise errors.PriorError(f"{where} received {value!r}", f"give numbers {limits}")
    return low, high


def whole_interval(value: object, where: str) -> tuple[int, int]:
    """Return (low, high) of two whole numbers above 0.

    Raises
    ------
    PriorError
    """
    low, high = interval(value, where, above=0.0)
    if low != int(low) or high != int(high):
        raise errors.PriorError(f"{where} received {value!r}", "give two whole numbers, low and high")
    return int(low), int(high)


def positive_triple(value: object, where: str) -> Triple:
    """Return (z, y, x) of three numbers above 0.

    Raises
    ------
    PriorError
    """
    if not isinstance(value, Sequence) or len(value) != 3 or not all(is_number(one) and one > 0 for one in value):
        raise errors.PriorError(f"{where} received {value!r}", "give three numbers above 0: z, y, x")
    return tuple(float(one) for one in value)
