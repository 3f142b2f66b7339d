"""Plain documents into frozen dataclasses, strictly: every key must be a field, every value must fit its type."""

from __future__ import annotations

import contextlib
import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

import yaml

from tfcyclegan3d import errors

_NAMES = {float: "a number", int: "a whole number", str: "a word", dict: "keys and values", bool: "true or false"}


def require(condition: bool, key: str, received: object, remedy: str) -> None:
    """Raise a ConfigError about ``key`` unless a condition holds."""
    if not condition:
        raise errors.ConfigError(key, received, remedy)


def build(cls: type, document: Mapping[str, Any], prefix: str = "") -> Any:
    """Build a dataclass from a mapping; keys left out take their defaults.

    Parameters
    ----------
    cls : type
        A dataclass whose fields are numbers, words, booleans, dictionaries, tuples, literals, unions and optional ones
        of these, or dataclasses.
    document : mapping
        Its fields by name.
    prefix : str
        What comes before its keys in messages.

    Raises
    ------
    UnknownKeyError, ConfigError
    """
    hints = typing.get_type_hints(cls)
    unknown = [key for key in document if key not in hints]
    if unknown:
        raise errors.UnknownKeyError(f"{prefix}{unknown[0]}", [f"{prefix}{name}" for name in hints])
    return cls(**{key: _coerce(value, hints[key], f"{prefix}{key}") for key, value in document.items()})


def _coerce(value: Any, hint: Any, key: str) -> Any:
    """Fit ``value`` to a type hint, or say why it does not fit."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType or origin is typing.Union:
        if value is None:
            return None
        return _coerce_to_one_of(value, [part for part in arguments if part is not type(None)], key)
    if origin is Literal:
        # YAML reads a bare off as False.
        value = "off" if value is False and "off" in arguments else value
        require(value in arguments, key, value, f"give one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        return _coerce_tuple(value, arguments, key)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        require(isinstance(value, dict), key, value, "give its keys and values")
        return build(hint, value, f"{key}.")
    if hint is float and isinstance(value, str):
        # YAML reads 1e-4 as a word: it wants a point, 1.0e-4.
        with contextlib.suppress(ValueError):
            value = float(value)
    accepted = {float: (int, float), int: (int,), str: (str,), dict: (dict,), bool: (bool,)}[hint]
    require(
        isinstance(value, accepted) and isinstance(value, bool) == (hint is bool), key, value, f"give {_NAMES[hint]}"
    )
    return float(value) if hint is float else value


def _coerce_to_one_of(value: Any, hints: list, key: str) -> Any:
    """Fit ``value`` to the first type hint that it fits."""
    remedies = []
    for hint in hints:
        try:
            return _coerce(value, hint, key)
        except errors.ConfigError as error:
            if len(hints) == 1:
                raise
            remedies.append(error.remedy)
    raise errors.ConfigError(key, value, " or ".join(dict.fromkeys(remedies)))


def _coerce_tuple(value: Any, arguments: tuple, key: str) -> tuple:
    if isinstance(value, str):
        try:
            value = [yaml.safe_load(part) for part in value.split(",")]
        except (yaml.YAMLError, ValueError):
            require(False, key, value, "give a [list]")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        value = [value]
    require(isinstance(value, list | tuple), key, value, "give a [list]")
    if arguments[-1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    require(len(value) == len(arguments) > 0, key, value, f"give a list of {len(arguments)}")
    return tuple(_coerce(part, hint, key) for part, hint in zip(value, arguments, strict=True))
