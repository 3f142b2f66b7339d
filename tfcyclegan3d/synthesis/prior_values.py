"""Values of a prior: each function returns one as it is kept, or says what is wrong with it."""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from tfcyclegan3d import errors

Interval = tuple[float, float]
Triple = tuple[float, float, float]
MOST_OBJECTS = 10**9


def is_number(value: object) -> bool:
    """Return whether a value is a finite int or float; True and False are none."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _as_number(value: object) -> object:
    """Return a text such as ``"8e4"``, which YAML takes for no number, as one; anything else as it is."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def interval(
    value: object,
    where: str,
    above: float | None = None,
    below: float | None = None,
    within: tuple[float, float] | None = None,
) -> Interval:
    """Return (low, high) of two numbers that lie above and below the limits, or within two that they may reach.

    Raises
    ------
    PriorError
    """
    received = value
    value = _as_number(value)
    value = [value, value] if is_number(value) else value
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = [_as_number(one) for one in value]
    if not isinstance(value, Sequence) or len(value) != 2 or not all(is_number(one) for one in value):
        raise errors.PriorError(f"{where} received {received!r}", "give two numbers, low and high, or one for both")
    low, high = float(value[0]), float(value[1])
    if low > high:
        raise errors.PriorError(f"{where} received the empty interval {value!r}", "put the lower number first")
    if (above is not None and low <= above) or (below is not None and high >= below):
        limits = " and ".join(
            f"{word} {end:g}" for word, end in (("above", above), ("below", below)) if end is not None
        )
        raise errors.PriorError(f"{where} received {value!r}", f"give numbers {limits}")
    if within is not None and not within[0] <= low <= high <= within[1]:
        raise errors.PriorError(f"{where} received {value!r}", f"give numbers from {within[0]:g} to {within[1]:g}")
    return low, high


def whole_interval(value: object, where: str) -> tuple[int, int]:
    """Return (low, high) of two whole numbers above 0.

    Raises
    ------
    PriorError
    """
    low, high = interval(value, where, above=0.0)
    if low != int(low) or high != int(high) or high > MOST_OBJECTS:
        remedy = f"give two whole numbers, low and high, of at most {MOST_OBJECTS}"
        raise errors.PriorError(f"{where} received {value!r}", remedy)
    return int(low), int(high)


def intervals(value: object, where: str, n: int, above: float | None = None) -> tuple[Interval, ...]:
    """Return ``n`` intervals, each a (low, high) as `interval` takes it.

    Raises
    ------
    PriorError
    """
    if n == 1 and isinstance(value, Sequence) and len(value) == 2 and all(is_number(one) for one in value):
        value = (value,)
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != n:
        raise errors.PriorError(f"{where} received {value!r}", f"give {n} interval{'s' if n > 1 else ''} [low, high]")
    return tuple(interval(one, where, above=above) for one in value)


def offsets(value: object, where: str) -> tuple[Interval, Interval, Interval]:
    """Return three intervals (z, y, x); one alone stands for all three axes.

    Raises
    ------
    PriorError
    """
    alone = isinstance(value, Sequence) and len(value) == 2 and all(is_number(one) for one in value)
    return intervals((value,) * 3 if alone else value, where, 3)


def number(value: object, where: str, low: float = 0.0, below: float = math.inf) -> float:
    """Return a number of at least ``low`` and below a limit.

    Raises
    ------
    PriorError
    """
    if not is_number(value) or not low <= value < below:
        limit = f" and below {below:g}" if below < math.inf else ""
        raise errors.PriorError(f"{where} received {value!r}", f"give a number of {low:g} or more{limit}")
    return float(value)


def choice(value: object, where: str, known: Sequence[str]) -> str:
    """Return a value that is one of those known.

    Raises
    ------
    PriorError
    """
    if value not in known:
        raise errors.PriorError(f"{where} received {value!r}", f"known: {', '.join(known)}")
    return value


def known_keys(cls: type, description: object, where: str) -> dict[str, Any]:
    """Return a description as a dict that has no key but the fields of a dataclass, and all that it needs.

    Raises
    ------
    PriorError
    """
    fields = dataclasses.fields(cls)
    known = [field.name for field in fields]
    if not isinstance(description, Mapping):
        raise errors.PriorError(f"{where} received {description!r}", f"give the keys {', '.join(known)}")
    unknown = next((key for key in description if key not in known), None)
    if unknown is not None:
        close = difflib.get_close_matches(str(unknown), known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise errors.PriorError(f"unknown key {unknown!r} in {where}", f"{hint}known here: {', '.join(known)}")
    missing = next(
        (field.name for field in fields if field.default is dataclasses.MISSING and field.name not in description), None
    )
    if missing is not None:
        raise errors.PriorError(f"{where} lacks the key {missing!r}", "add it")
    return dict(description)
