"""Every stack is tested on once and validated on once, and never by a network that learned from it."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfcyclegan3d import errors
from tfcyclegan3d.experiments.folds import Fold, nested_folds, of

# So many folds, and at least as many stacks.
sizes = st.integers(3, 12).flatmap(lambda n_folds: st.tuples(st.integers(n_folds, 60), st.just(n_folds)))


@given(sizes)
def test_each_stack_is_tested_on_once_and_validated_on_once(size):
    n_stacks, n_folds = size
    folds = nested_folds(n_stacks, n_folds)
    assert len(folds) == n_folds
    for part in ("test", "validation"):
        assert sorted(chain.from_iterable(getattr(fold, part) for fold in folds)) == list(range(n_stacks))


@given(sizes)
def test_the_parts_of_a_fold_share_no_stack_lack_none_and_are_never_empty(size):
    n_stacks, n_folds = size
    for fold in nested_folds(n_stacks, n_folds):
        parts = (fold.training, fold.validation, fold.test)
        assert all(parts)
        # Sorted, so that a stack in two parts would show twice.
        assert sorted(chain(*parts)) == list(range(n_stacks))
        assert all(list(part) == sorted(part) for part in parts)


@given(sizes)
def test_folds_differ_in_size_by_one_stack_at_most_and_each_stack_trains_alike_often(size):
    n_stacks, n_folds = size
    folds = nested_folds(n_stacks, n_folds)
    for part in ("test", "validation", "training"):
        lengths = [len(getattr(fold, part)) for fold in folds]
        assert max(lengths) - min(lengths) <= (2 if part == "training" else 1)
    times = Counter(chain.from_iterable(fold.training for fold in folds))
    assert times == dict.fromkeys(range(n_stacks), n_folds - 2)


def test_three_stacks_give_the_papers_folds_of_one_to_train_one_to_validate_and_one_to_test_on():
    assert nested_folds(3) == [
        Fold(training=(2,), validation=(1,), test=(0,)),
        Fold(training=(0,), validation=(2,), test=(1,)),
        Fold(training=(1,), validation=(0,), test=(2,)),
    ]


def test_the_same_stacks_give_the_same_folds():
    assert nested_folds(8, 4) == nested_folds(8, 4)


@pytest.mark.parametrize(("n_stacks", "n_folds"), [(0, 3), (2, 3), (4, 5)])
def test_fewer_stacks_than_folds_are_refused_with_both_numbers(n_stacks, n_folds):
    with pytest.raises(errors.OptionError, match=f"--images: received {n_stacks}; give at least {n_folds} stacks"):
        nested_folds(n_stacks, n_folds)


@pytest.mark.parametrize("n_folds", [-1, 0, 1, 2])
def test_fewer_than_three_folds_are_refused(n_folds):
    with pytest.raises(errors.OptionError, match=f"--folds: received {n_folds}; give at least 3"):
        nested_folds(10, n_folds)


def test_the_stacks_of_a_part_come_in_its_order():
    assert of((2, 0), ["a", "b", "c"]) == ["c", "a"]
    assert of((), ["a"]) == []
