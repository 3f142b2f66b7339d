"""Any stack by any tiles and halos is predicted as by one tile: shown by a stand-in network, cheap and local."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tfcyclegan3d.inference.blocks import plan_with_halo
from tfcyclegan3d.inference.prediction import Prediction
from tfcyclegan3d.inference.reading import CoarseReader
from tfcyclegan3d.sources import open_source
from tfcyclegan3d.volumes import Volume

from .tiny import TINY

few = settings(deadline=None, max_examples=40)


def stand_in(multiple, radius):
    """Return a network of strides: means of surroundings, nought beyond the tile, and over the coarsest cells."""

    def probabilities(batch):
        made = []
        for values in batch:
            near = ndimage.uniform_filter(values, (*(2 * radius + 1,) * 3, 1), mode="constant")
            z, y, x, c = near.shape
            cells = near.reshape(z // multiple, multiple, y // multiple, multiple, x // multiple, multiple, c)
            coarse = cells.mean(axis=(1, 3, 5), keepdims=True)
            made.append(((0.5 * near + 0.5 * (cells * 0 + coarse).reshape(near.shape)) + 1) / 2)
        return np.stack(made)

    return probabilities


@st.composite
def cases(draw: st.DrawFn):
    multiple, radius = draw(st.sampled_from([1, 2, 4])), draw(st.integers(0, 3))
    halo = multiple + radius + draw(st.integers(0, 3))
    least = 2 * (-(-halo // multiple) * multiple) + multiple
    largest = draw(st.tuples(*[st.integers(least, least + 12)] * 3))
    factors = draw(st.tuples(*[st.integers(1, 3)] * 3))
    shape = draw(st.tuples(st.integers(1, 30), st.integers(1, 50), st.integers(2, 50)))
    offset = tuple(multiple * draw(st.integers(0, 3)) for _ in range(3))
    return multiple, radius, halo, largest, factors, shape, offset


@few
@given(cases(), st.integers(0, 2**32 - 1))
def test_no_tile_halo_or_shift_changes_a_probability_and_every_voxel_is_written_once(case, seed):
    multiple, radius, halo, largest, factors, shape, offset = case
    config = TINY.replace({"classes": ["golgi", "nuclei"], "preprocessing.downsampling": list(factors)})
    array = np.random.default_rng(seed).gamma(2.0, 40.0, (*shape, 2)).astype(np.float32)
    source = open_source(Volume(array))
    reader = CoarseReader(source, config.preprocessing, np.array([[0.0, 200.0]] * 2))
    whole, tiled = (np.full(array.shape, np.nan, np.float32) for _ in range(2))
    counts = np.zeros(shape, int)

    def made(into, plan):
        def write(place, values):
            into[place.slices] = values
            counts[place.slices] += 1

        Prediction(reader, shape, config, plan, stand_in(multiple, radius), whole.shape[-1]).run(plan.blocks, write)

    made(whole, plan_with_halo(reader.shape, (128, 128, 128), halo, multiple))
    made(tiled, plan_with_halo(reader.shape, largest, halo, multiple, offset))
    assert (counts == 2).all()
    np.testing.assert_allclose(tiled, whole, atol=1e-5)
