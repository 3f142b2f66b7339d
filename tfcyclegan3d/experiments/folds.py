"""Nested cross-validation: which stacks each fold trains, validates and tests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tfcyclegan3d import errors


@dataclass(frozen=True)
class Fold:
    """Stacks of one fold, by their place in the list.

    Parameters
    ----------
    training, validation, test : tuple of int
        Disjoint; all stacks together.
    """

    training: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def nested_folds(n_stacks: int, n_folds: int = 3) -> list[Fold]:
    """Share stacks out among folds: each is tested on once, and validated on once.

    With as many stacks as folds, three of each, a fold has one stack to train, one to validate and one to test on, as
    in the paper (section III.C); of more, what is neither validated nor tested on trains.

    Parameters
    ----------
    n_stacks : int
        At least ``n_folds``.
    n_folds : int
        At least 3.

    Raises
    ------
    OptionError
        For fewer folds than 3, or fewer stacks than folds.
    """
    if n_folds < 3:
        raise errors.OptionError("--folds", n_folds, "give at least 3: one to train, one to validate, one to test on")
    if n_stacks < n_folds:
        raise errors.OptionError("--images", n_stacks, f"give at least {n_folds} stacks, one for each fold")
    groups = [tuple(range(k, n_stacks, n_folds)) for k in range(n_folds)]
    folds = []
    for k in range(n_folds):
        test, validation = groups[k], groups[(k + 1) % n_folds]
        training = sorted(set(range(n_stacks)).difference(test, validation))
        folds.append(Fold(tuple(training), validation, test))
    return folds


def of(places: Sequence[int], stacks: Sequence) -> list:
    """Return the stacks at the places of a fold's training, validation or test."""
    return [stacks[k] for k in places]
