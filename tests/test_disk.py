"""Stacks left on disk train as those in memory do, to the last bit; a disk that cannot hold them is an error."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.test_volumes import WAYS, stack, stored_as, write_pages_with_headers_at_the_end
from tests.tiny import TINY
from tfcyclegan3d import errors, patches, preprocessing, scratch, tiling
from tfcyclegan3d.scratch import ScratchFile
from tfcyclegan3d.stacks import Stacks
from tfcyclegan3d.synthesis import estimation
from tfcyclegan3d.synthesis.scale_space import binned
from tfcyclegan3d.synthesis.simulation import simulate_stack
from tfcyclegan3d.tiff import reading
from tfcyclegan3d.training import cyclegan_trainer, on_disk, preparation
from tfcyclegan3d.training.cyclegan_trainer import CycleGANTrainer
from tfcyclegan3d.training.preparation import prepare
from tfcyclegan3d.volumes import Volume, read_volume, write_volume

few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DRAWN = TINY.replace({"preprocessing.downsampling": [1, 2, 2], "synthesis.diameters": {"golgi": 6, "nuclei": 12}})


@pytest.fixture
def all_on_disk(monkeypatch):
    """Leave every stack on disk, and look at it in slabs of a few planes."""
    monkeypatch.setattr(reading, "MOST_IN_MEMORY", 0)
    monkeypatch.setattr(tiling, "SLAB_VALUES", 9000)


def full_disk(monkeypatch, writes_before):
    """Let a temporary file take so many writes and no more."""
    real = scratch.tempfile.TemporaryFile

    class Full:
        def __init__(self, *arguments, **options):
            self._file, self._left = real(*arguments, **options), writes_before

        def __getattr__(self, name):
            return getattr(self._file, name)

        def write(self, data):
            self._left -= 1
            if self._left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self._file.write(data)

    monkeypatch.setattr(scratch.tempfile, "TemporaryFile", Full)


# ---- the file


def test_arrays_come_back_as_written_cannot_be_written_to_and_share_few_open_files(tmp_path):
    file, rng = ScratchFile(tmp_path), np.random.default_rng(0)
    arrays = [rng.integers(0, 99, (i % 5 + 1, 3)).astype(dtype) for i, dtype in enumerate(["u1", "f4", "<i8"] * 100)]
    open_files = Path("/proc/self/fd")
    before = len(list(open_files.iterdir())) if open_files.is_dir() else 0
    kept = [file.keep(array) for array in arrays]
    if before:
        assert len(list(open_files.iterdir())) - before < 15
    for array, one in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(one, array)
        assert one.dtype == array.dtype
    with pytest.raises(ValueError, match="read-only"):
        kept[0][:] = 1
    assert list(tmp_path.iterdir()) == []


def test_what_is_replaced_shows_in_arrays_given_out_before(tmp_path):
    file = ScratchFile(tmp_path)
    start = file.write([np.arange(4), np.arange(4, 8)])
    array = file.array(start, np.int64, (8,))
    file.write((array[part] * 10 for part in (slice(0, 4), slice(4, 8))), start)
    assert array.tolist() == list(range(0, 80, 10))


def test_arrays_outlive_the_object_that_made_them(tmp_path):
    array = ScratchFile(tmp_path).keep(np.arange(9))
    assert array.tolist() == list(range(9))


@pytest.mark.parametrize("folder", ["missing", "a file"])
def test_a_folder_that_cannot_be_written_to_is_the_users_error(tmp_path, folder):
    (tmp_path / "a file").write_text("")
    with pytest.raises(errors.OutputError, match=f"{folder}: cannot be written"):
        ScratchFile(tmp_path / folder)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_nothing_is_left_of_it_after_a_kill_that_cannot_be_caught(tmp_path):
    code = (
        "import sys, time, numpy as np; from tfcyclegan3d.scratch import ScratchFile\n"
        "kept = ScratchFile(sys.argv[1]).keep(np.ones(9)); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []


# ---- reading


@pytest.mark.parametrize("way", WAYS)
def test_a_stack_left_on_disk_has_the_values_of_one_in_memory_and_truncated_it_is_an_error(tmp_path, way, all_on_disk):
    array = np.random.default_rng(0).integers(1, 255, (8, 32, 32)).astype(np.uint8)
    path = tmp_path / "a.tif"
    if way == "headers at the end":
        write_pages_with_headers_at_the_end(path, array)
    elif way == "our own":
        write_volume(path, Volume(array))
    else:
        tifffile.imwrite(path, array, photometric="minisblack", **WAYS[way])
    on_disk_too = read_volume(path, scratch=ScratchFile(tmp_path))
    assert not on_disk_too.array.flags.writeable
    np.testing.assert_array_equal(on_disk_too.array, read_volume(path).array)
    content = path.read_bytes()
    for percent in (1, 30, 60, 90):
        path.with_name("cut.tif").write_bytes(content[: len(content) * percent // 100])
        with pytest.raises(errors.UnreadableFileError, match="cannot be read"):
            read_volume(path.with_name("cut.tif"), scratch=ScratchFile(tmp_path))


@few
@given(
    axes=st.permutations("ZYXC").map("".join),
    lengths=st.tuples(*[st.integers(2, 6)] * 3, st.integers(1, 4)),
    dtype=st.sampled_from(["u1", "<u2", ">u2", "<f4", ">f4", ">i4"]),
    compression=st.sampled_from([None, "zlib", "lzw"]),
    channels=st.none() | st.lists(st.integers(0, 3), min_size=1, max_size=4),
)
def test_any_axes_type_compression_and_channels_give_the_same_volume(
    tmp_path, axes, lengths, dtype, compression, channels
):
    stored = stored_as(stack(lengths, dtype), axes)
    tifffile.imwrite(
        tmp_path / "a.tif",
        stored,
        photometric="minisblack",
        compression=compression,
        byteorder=dtype[0].replace("u", "<"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "MOST_IN_MEMORY", 0)
        patch.setattr(tiling, "SLAB_VALUES", 20)
        if channels is not None and max(channels) >= lengths[3]:
            with pytest.raises(errors.ChannelError, match=f"a: has {lengths[3]} channel"):
                read_volume(tmp_path / "a.tif", axes, channels, scratch=ScratchFile(tmp_path))
            return
        mapped = read_volume(tmp_path / "a.tif", axes, channels, scratch=ScratchFile(tmp_path)).array
    whole = read_volume(tmp_path / "a.tif", axes, channels).array
    assert not mapped.flags.writeable
    np.testing.assert_array_equal(mapped, whole)
    assert mapped.dtype.newbyteorder("=") == whole.dtype


def test_a_value_that_is_not_finite_is_found_in_any_slab(tmp_path, all_on_disk):
    array = np.ones((6, 20, 30), np.float32)
    array[4, 3, 2] = array[0, 1, 1] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack")
    with pytest.raises(errors.VolumeContentError, match="2 voxels of NaN"):
        read_volume(tmp_path / "a.tif", scratch=ScratchFile(tmp_path))


def test_a_full_disk_is_the_users_error_while_a_stack_is_decoded(tmp_path, all_on_disk, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", stack((5, 16, 16)), photometric="minisblack", compression="zlib")
    full_disk(monkeypatch, 3)
    with pytest.raises(errors.OutputError, match=r"cannot be written \(No space left on device\)"):
        read_volume(tmp_path / "a.tif", scratch=ScratchFile(tmp_path))


# ---- many stacks


def test_stacks_are_opened_when_asked_for_and_kept_up_to_a_limit(tmp_path, monkeypatch):
    arrays = [stack((4, 5, 6, 1), np.uint16, seed) for seed in range(4)]
    paths = [write_volume(tmp_path / f"{i}.tif", Volume(array)) for i, array in enumerate(arrays)]
    monkeypatch.setattr(reading, "MOST_IN_MEMORY", 2 * arrays[0].nbytes)
    opened = []
    monkeypatch.setattr(
        "tfcyclegan3d.stacks.read_volume", lambda path, **kwargs: opened.append(path) or read_volume(path, **kwargs)
    )
    stacks = Stacks([*paths, arrays[3]])
    assert opened == []
    for _ in range(3):
        for volume, array in zip(stacks, [*arrays, arrays[3]], strict=True):
            np.testing.assert_array_equal(volume.array, array)
    assert opened == [*paths, *paths[2:], *paths[2:]]
    assert [grid.shape for grid in stacks.grids] == [(4, 5, 6)] * 5
    assert (stacks[-2].name, len(stacks[1:3])) == ("3", 2)


# ---- arrays in slabs


@few
@given(
    shape=st.tuples(*[st.integers(1, 17)] * 3, st.integers(1, 3)),
    factors=st.tuples(*[st.integers(1, 4)] * 3),
    axes=st.permutations([0, 1, 2, 3]),
    dtype=st.sampled_from(["u1", ">u2", "f4"]),
    seed=st.integers(0, 99),
)
def test_a_stack_averaged_and_stretched_in_slabs_is_that_of_the_whole_to_the_bit(shape, factors, axes, dtype, seed):
    array = np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)
    config = TINY.preprocessing.__class__(percentiles=(5, 90), downsampling=factors)
    coarse = preprocessing.downsample(array.astype(array.dtype.newbyteorder("=")), factors)
    expected = preprocessing.stretch(coarse, preprocessing.stretch_bounds(coarse, (5, 90)))
    stored = np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling, "SLAB_VALUES", 150)
        patch.setattr(preprocessing, "MOST_SORTED", 30)
        (found,) = on_disk.images([Volume(stored)], config, ScratchFile())
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_binning_is_the_same_in_slabs_and_whichever_axis_is_stored_first(monkeypatch):
    array = np.random.default_rng(0).integers(0, 999, (13, 22, 31)).astype(np.uint16)
    expected, side = binned(array, np.array([2.0, 1.0, 1.0]), 4.0, 100)
    monkeypatch.setattr(tiling, "SLAB_VALUES", 300)
    for axes in ([0, 1, 2], [1, 2, 0], [2, 1, 0], [1, 0, 2]):
        stored = np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))
        found, other_side = binned(stored, np.array([2.0, 1.0, 1.0]), 4.0, 100)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        np.testing.assert_array_equal(other_side, side)


def test_a_sample_of_a_large_stack_is_spread_over_it_and_tells_how_full_it_is():
    array = np.random.default_rng(0).integers(0, 50, (20, 200, 240, 1)).astype(np.float32)
    array[:, :, 180:] += 500  # A quarter, all on one side.
    assert estimation.sample(array, array.size) is array
    part = estimation.sample(array, 60_000)
    assert 50_000 <= part.size <= 60_000
    assert part.shape[0] == 20
    assert (part[0, 0, 0], part[-1, -1, -1]) == (array[0, 0, 0], array[-1, -1, -1])
    assert estimation.fill_fraction([part]) == pytest.approx(0.25, abs=0.02)


# ---- patches and preparation


def test_patches_of_a_mapped_volume_are_those_of_one_in_memory(tmp_path):
    volumes = [stack((5, 20, 24, 2), np.float32), stack((12, 7, 30, 2), np.float32, 1)]
    file = ScratchFile(tmp_path)
    mapped = [file.keep(volume) for volume in volumes]
    one, other = (patches.VolumePatches(several, (8, 10, 10), (3,)) for several in (volumes, mapped))
    for index in range(30):
        np.testing.assert_array_equal(one.draw(index)[0], other.draw(index)[0])


def test_a_patch_of_a_thin_volume_is_cut_from_the_padded_one():
    volume = stack((5, 20, 24, 1), np.float32)
    padded = np.pad(volume, [(1, 2), (0, 0), (0, 0), (0, 0)], mode="reflect")
    one, other = (patches.VolumePatches([several], (8, 10, 10), (3,)) for several in (volume, padded))
    for index in range(30):
        np.testing.assert_array_equal(one.draw(index)[0], other.draw(index)[0])


@pytest.mark.parametrize(("axes", "compression"), [("YXZC", None), ("ZCYX", "zlib")])
def test_files_left_on_disk_are_prepared_as_arrays_in_memory_are(tmp_path, all_on_disk, axes, compression):
    arrays = [simulate_stack((14, 36, 40), seed=seed).image.array for seed in (1, 2)]
    for i, array in enumerate(arrays):
        stored = stored_as(array, axes)
        tifffile.imwrite(tmp_path / f"{i}.tif", stored, photometric="minisblack", compression=compression)
    from_files = prepare(Stacks([tmp_path / "0.tif", tmp_path / "1.tif"], axes), None, DRAWN, tmp_path)
    in_memory = prepare([Volume(array) for array in arrays], None, DRAWN)
    assert from_files.config == in_memory.config
    assert from_files.prior == in_memory.prior
    for one, other in zip(from_files.images, in_memory.images, strict=True):
        np.testing.assert_array_equal(one, other)
        assert not one.flags.writeable
    fills = dict.fromkeys(from_files.prior.channels(), 0.1)
    masks = zip(
        from_files.objects + from_files.redrawn(fills), in_memory.objects + in_memory.redrawn(fills), strict=True
    )
    for one, other in masks:
        np.testing.assert_array_equal(one.numbers, other.numbers)
        np.testing.assert_array_equal(one.coverage, other.coverage)


def test_a_scene_painted_in_slabs_is_that_of_the_whole(monkeypatch):
    scene = simulate_scene()
    whole = preprocessing.CoarseObjects.of(scene.numbers(), (2, 2, 1))
    monkeypatch.setattr(tiling, "SLAB_VALUES", 4000)
    found = on_disk.scene_objects(scene, (2, 2, 1), ScratchFile())
    np.testing.assert_array_equal(found.numbers, whole.numbers)
    np.testing.assert_array_equal(found.coverage, whole.coverage)
    assert (found.numbers.dtype, found.coverage.dtype) == (whole.numbers.dtype, whole.coverage.dtype)


def simulate_scene():
    from tfcyclegan3d.synthesis.diameters import prior_for
    from tfcyclegan3d.synthesis.placement import draw_scene

    return draw_scene((15, 33, 31), prior_for({"nuclei": 8.0}, 0.2), (1.0, 1.0, 1.0), np.random.SeedSequence(0))


def test_a_large_mask_becomes_pieces_that_show_all_of_it(monkeypatch):
    mask = np.zeros((6, 30, 30, 1), np.uint8)
    mask[1:4, 2:9, 3:28] = 200
    monkeypatch.setattr(on_disk, "MOST_NUMBERED", 6 * 15 * 15)
    pieces = on_disk.given_objects([Volume(mask)], (1, 1, 1), ScratchFile())
    assert [one.numbers.shape for one in pieces] == [(6, 15, 15, 1)] * 4
    joined = np.block(
        [
            [[pieces[0].coverage[..., 0], pieces[1].coverage[..., 0]]],
            [[pieces[2].coverage[..., 0], pieces[3].coverage[..., 0]]],
        ]
    )
    np.testing.assert_array_equal(joined.reshape(6, -1).sum(), (mask > 0).sum())
    assert [int(one.numbers.max()) for one in pieces] == [1, 1, 0, 0]


def test_a_drawn_mask_is_no_larger_than_can_be_rendered(monkeypatch):
    monkeypatch.setattr(preparation, "MOST_DRAWN", 16 * 20 * 20)
    config = DRAWN.replace({"synthesis.maximum_shape": None})
    image = simulate_stack((16, 80, 96), seed=1).image
    prepared = prepare([image], None, config)
    assert {one.numbers.shape for one in prepared.objects} == {(16, 20, 20, 2)}


def test_a_disk_that_fills_up_during_the_preparation_is_the_users_error(tmp_path, monkeypatch):
    image = Volume(simulate_stack((14, 36, 40), seed=1).image.array)
    full_disk(monkeypatch, 0)
    with pytest.raises(errors.OutputError, match=r"cannot be written \(No space left on device\)"):
        prepare([image], None, DRAWN, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_how_full_a_large_stack_looks_is_told_by_tiles_spread_over_it(monkeypatch):
    config = TINY.replace({"preprocessing.downsampling": [1, 1, 1], "synthesis.diameters": {"nuclei": 6}})
    values = np.random.default_rng(0).random((13, 40, 75, 1)).astype(np.float32)
    training = CycleGANTrainer(prepare([Volume(values)], None, config))
    image = training._prepared.images[0]

    class Bright:
        """Gives back what it is given, so that the mask is where the image is above 0."""

        def predict_on_batch(self, batch):
            return batch

    monkeypatch.setattr(training, "present_networks", lambda: (Bright(), None))
    np.testing.assert_array_equal(training._predicted_mask(image), image > 0)
    monkeypatch.setattr(cyclegan_trainer, "MOST_LOOKED_AT", 4)
    part = training._predicted_mask(image)
    assert part.shape == (4 * 13, 16, 16, 1)
    np.testing.assert_array_equal(part[:13], image[:, :16, :16] > 0)
    np.testing.assert_array_equal(part[-13:], image[:, -16:, -16:] > 0)


@pytest.mark.parametrize(("is_image", "values"), [(True, range(1, 200)), (False, (0, 255))])
def test_given_masks_that_look_like_images_are_warned_of(caplog, is_image, values):
    drawn = np.random.default_rng(0).choice(np.array(values, np.uint8), (5, 8, 8, 1))
    on_disk.given_objects([Volume(drawn, None, "cells")], (1, 1, 1), ScratchFile())
    said = [record.getMessage().partition(",")[0] for record in caplog.records]
    assert said == ["warning: cells: looks like an image"] * is_image
