"""A source gives any box of a stack as the whole stack has it, and slabs that cover it once."""

import math
import tracemalloc

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.zarr_files import stored_as, write_array, write_image
from tfcyclegan3d import errors, tiling
from tfcyclegan3d.sources import open_source
from tfcyclegan3d.tiff import reading
from tfcyclegan3d.volumes import Volume, read_volume, write_volume
from tfcyclegan3d.zarrs.chunks import plan_boxes

few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WHOLE = (slice(None),) * 3


def stack(shape=(5, 7, 9, 2), dtype=np.uint16, seed=0):
    return np.random.default_rng(seed).permutation(math.prod(shape)).reshape(shape).astype(dtype)


def slices(draw, shape):
    """Return a box within a shape, some of its slices open."""
    box = []
    for side in shape:
        start = draw(st.integers(0, side - 1))
        stop = draw(st.integers(start + 1, side))
        box.append(slice(draw(st.sampled_from([start, None])) if start == 0 else start, stop))
    return tuple(box)


@st.composite
def stored_stacks(draw):
    """A stack, the order of its axes, its chunks and perhaps shards, the channels wanted and a box."""
    shape = draw(st.tuples(*[st.integers(1, 9)] * 3, st.integers(1, 4)))
    axes = "".join(draw(st.permutations("zyxc")))
    place = draw(st.integers(0, 5))
    axes = axes if place == 5 else axes[:place] + "t" + axes[place:]
    chunks = [draw(st.integers(1, 5)) for _ in axes]
    zarr_format = draw(st.sampled_from([2, 3]))
    shards = [draw(st.integers(1, 2)) * side for side in chunks] if zarr_format == 3 and draw(st.booleans()) else None
    every = st.lists(st.integers(0, shape[3] - 1), min_size=1, max_size=5)
    return shape, axes, tuple(chunks), shards, zarr_format, draw(st.none() | every), slices(draw, shape[:3])


@few
@given(drawn=stored_stacks())
def test_a_box_of_a_zarr_is_that_of_its_array(tmp_path_factory, drawn):
    shape, axes, chunks, shards, zarr_format, channels, box = drawn
    array, path = stack(shape), tmp_path_factory.mktemp("zarr") / "a.zarr"
    options = {"shards": tuple(shards)} if shards else {}
    write_image(path, stored_as(array, axes), axes, zarr_format=zarr_format, chunks=chunks, **options)
    # A shard is left out where it is nought all over, in spite of what the test asks zarr for.
    source = open_source(path, channels=channels, allow_missing_chunks=shards is not None)
    wanted = array if channels is None else array[..., channels]
    np.testing.assert_array_equal(source.read(box), wanted[box])
    assert (source.grid.shape, source.grid.n_channels, source.dtype) == (shape[:3], wanted.shape[3], array.dtype)
    check_slabs(source, wanted)


def check_slabs(source, array):
    """Every voxel lies in one slab, and the slabs' values are the array's."""
    counts, values = np.zeros(array.shape[:3], int), np.empty_like(array)
    for slab in source.slabs():
        counts[slab] += 1
        values[slab] = source.read(slab)
    assert (counts == 1).all()
    np.testing.assert_array_equal(values, array)


@given(
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    chunks=st.tuples(*[st.integers(1, 50)] * 3),
    n_values=st.integers(1, 2000),
)
def test_boxes_cover_an_array_once_hold_whole_chunks_and_no_more_than_they_may(shape, chunks, n_values):
    counts = np.zeros(shape, int)
    one_chunk = math.prod(min(length, side) for length, side in zip(chunks, shape, strict=True))
    for box in plan_boxes(shape, chunks, n_values):
        counts[box] += 1
        assert counts[box].size <= max(n_values, one_chunk)
        for part, length, side in zip(box, chunks, shape, strict=True):
            assert part.start % length == 0
            assert part.stop % length == 0 or part.stop == side
    assert (counts == 1).all()


@pytest.mark.parametrize("kind", ["volume", "array", "tif", "mapped tif", "zlib", "zarr", "plain zarr"])
@pytest.mark.parametrize("channels", [None, (1,), (1, 0)])
def test_every_kind_of_stack_is_a_source(tmp_path, monkeypatch, kind, channels):
    monkeypatch.setattr(tiling, "SLAB_VALUES", 60)
    if kind in ("mapped tif", "zlib"):
        monkeypatch.setattr(reading, "MOST_IN_MEMORY", 0)
    array, axes, size = stack(), None, (3.0, 0.5, 0.25)
    if kind == "volume":
        stored = Volume(array, size, "a")
    elif kind == "array":
        stored, size = array, None
    elif kind == "zlib" or kind == "zarr":
        stored = write_volume(tmp_path / ("a.tif" if kind == "zlib" else "a.zarr"), Volume(array, size))
    elif kind == "plain zarr":
        stored, axes, size = tmp_path / "a.zarr", "ZYXC", None
        write_array(stored, array)
    else:
        stored, axes, size = tmp_path / "a.tif", "ZYXC", None
        tifffile.imwrite(stored, array, photometric="minisblack")
    source = open_source(stored, axes, channels, scratch_folder=tmp_path)
    wanted = array if channels is None else array[..., list(channels)]
    assert source.grid == ((5, 7, 9), wanted.shape[3], size, "volume" if kind == "array" else "a")
    np.testing.assert_array_equal(source.read(WHOLE), wanted)
    np.testing.assert_array_equal(source.read((slice(1, 4), slice(2, 3), slice(None, 5))), wanted[1:4, 2:3, :5])
    check_slabs(source, wanted)
    assert len(list(source.slabs())) > 1 or kind == "zarr"


def test_a_voxel_size_given_wins(tmp_path):
    write_volume(tmp_path / "a.zarr", Volume(stack(), (3, 2, 1)))
    assert open_source(tmp_path / "a.zarr").grid.voxel_size_um == (3, 2, 1)
    assert open_source(tmp_path / "a.zarr", voxel_size_um=(1, 2, 3)).grid.voxel_size_um == (1, 2, 3)


def test_reading_a_zarr_slab_by_slab_takes_the_memory_of_a_slab(tmp_path):
    array = np.zeros((128, 512, 512), np.uint8)
    write_array(tmp_path / "a.zarr", array, chunks=(32, 128, 128))
    source = open_source(tmp_path / "a.zarr")
    source.read((slice(0, 1),) * 3)
    tracemalloc.start()
    for slab in source.slabs():
        source.read(slab)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(list(source.slabs())) == 8
    assert peak < array.nbytes / 2


def test_values_that_are_no_numbers_are_named_where_they_are_met(tmp_path):
    array = np.ones((4, 5, 6), np.float32)
    array[3, 0, 0] = np.inf
    write_array(tmp_path / "a.zarr", array, chunks=(2, 5, 6))
    source = open_source(tmp_path / "a.zarr")
    assert (source.read((slice(0, 3), slice(0, 5), slice(0, 6))) == 1).all()
    with pytest.raises(errors.VolumeContentError, match=r"a\.zarr: holds 1 voxel of NaN or infinite value"):
        source.read(WHOLE)


def test_a_damaged_chunk_is_named_where_it_is_met_and_missing_ones_at_once(tmp_path):
    write_array(tmp_path / "a.zarr", stack((4, 5, 6)), chunks=(2, 5, 6))
    chunk = tmp_path / "a.zarr" / "c" / "1" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:9])
    source = open_source(tmp_path / "a.zarr")
    np.testing.assert_array_equal(source.read((slice(0, 2), *WHOLE[1:]))[..., 0], stack((4, 5, 6))[:2])
    with pytest.raises(errors.UnreadableFileError, match="chunk c/1/0/0 is damaged"):
        source.read((slice(1, 3), *WHOLE[1:]))
    chunk.unlink()
    with pytest.raises(errors.UnreadableFileError, match="chunk c/1/0/0 is missing, 1 of 2 are"):
        open_source(tmp_path / "a.zarr")
    source = open_source(tmp_path / "a.zarr", allow_missing_chunks=True)
    assert (source.read((slice(2, 4), *WHOLE[1:])) == 0).all()


@pytest.mark.parametrize(
    ("write", "error", "words"),
    [
        (lambda path: write_array(path, np.ones((3, 4, 5), np.complex64), 2), errors.VolumeContentError, "complex64"),
        (
            lambda path: write_array(path, np.ones((0, 4, 5), np.uint8), chunks=(1, 1, 1)),
            errors.VolumeContentError,
            "no",
        ),
        (lambda path: write_array(path, stack()), errors.AxesError, "--axes"),
        (lambda path: path.mkdir(), errors.UnreadableFileError, "neither"),
        (lambda path: None, errors.FileMissingError, "no such file"),
    ],
)
def test_what_is_no_stack_is_no_source(tmp_path, write, error, words):
    write(tmp_path / "a.zarr")
    with pytest.raises(error, match=words):
        open_source(tmp_path / "a.zarr")
    with pytest.raises(error, match=words):
        read_volume(tmp_path / "a.zarr")


def test_channels_that_are_not_there_are_an_error(tmp_path):
    write_volume(tmp_path / "a.zarr", Volume(stack()))
    for one in (tmp_path / "a.zarr", Volume(stack())):
        with pytest.raises(errors.ChannelError, match="were asked for"):
            open_source(one, channels=(2,))


def test_a_large_zarr_that_is_read_whole_is_decoded_to_disk_where_that_is_wanted(tmp_path, monkeypatch):
    from tfcyclegan3d.scratch import ScratchFile

    monkeypatch.setattr(reading, "MOST_IN_MEMORY", 0)
    array = stack((7, 6, 5, 3))
    write_array(tmp_path / "a.zarr", array.transpose(3, 0, 1, 2), chunks=(1, 2, 3, 4))
    read = read_volume(tmp_path / "a.zarr", "CZYX", scratch=ScratchFile(tmp_path))
    np.testing.assert_array_equal(read.array, array)
    assert not read.array.flags.writeable
    read = read_volume(tmp_path / "a.zarr", "CZYX", (2, 0, 1), scratch=ScratchFile(tmp_path))
    np.testing.assert_array_equal(read.array, array[..., [2, 0, 1]])
