"""Reading, computing and writing overlap, in order, and the first fault ends them all."""

from __future__ import annotations

import threading

import pytest

from tfcyclegan3d.inference import pipeline


@pytest.mark.parametrize("n_items", [0, 1, 2, 3, 7, 50])
def test_every_item_is_written_once_in_order(n_items):
    written = []
    pipeline.run(
        range(n_items), lambda item: item * 10, lambda item, read: item + read, lambda item, made: written.append(made)
    )
    assert written == [11 * item for item in range(n_items)]


def test_few_items_are_read_ahead_of_what_is_computed():
    read, computed, most = [], [], 0

    def compute(item, _):
        nonlocal most
        computed.append(item)
        most = max(most, len(read) - len(computed))

    pipeline.run(range(100), read.append, compute, lambda item, made: None)
    assert most <= pipeline.N_AHEAD + 1


def test_the_next_item_is_read_and_the_last_one_written_while_one_is_computed():
    reading, writing = threading.Event(), threading.Event()

    def compute(item, _):
        # Would wait for ever if one thread did all.
        if item == 0:
            assert reading.wait(20)
        if item == 2:
            assert writing.wait(20)

    pipeline.run(range(3), lambda item: reading.set() if item == 1 else None, compute, lambda item, made: writing.set())


@pytest.mark.parametrize("where", ["read", "compute", "write"])
def test_a_fault_anywhere_is_raised_and_nothing_is_done_after_it(where):
    done = {"read": [], "compute": [], "write": []}

    def step(name):
        def act(item, *_):
            if name == where and item == 3:
                raise ValueError("here")
            done[name].append(item)

        return act

    with pytest.raises(ValueError, match="here"):
        pipeline.run(range(1000), step("read"), step("compute"), step("write"))
    assert max(map(len, done.values())) < 20
