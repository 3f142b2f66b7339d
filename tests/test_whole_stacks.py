"""Whole stacks: the same mask from memory and from disk, by any tiles, in one go or in pieces."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import tifffile
import zarr

import tfcyclegan3d as tc
from tfcyclegan3d import errors
from tfcyclegan3d.cli.main import main
from tfcyclegan3d.inference import whole_stacks
from tfcyclegan3d.inference.predictor import SegmentationModel, load_model
from tfcyclegan3d.inference.whole_stacks import WORKSPACES, version_of
from tfcyclegan3d.models.resnet_generator import resnet_generator
from tfcyclegan3d.sources import open_source
from tfcyclegan3d.stored_stacks import read_class_names
from tfcyclegan3d.volumes import Volume, read_volume, write_volume

from .test_frozen import lively
from .tiny import TINY

SHAPE = (20, 130, 150)
CONFIG = TINY.replace(
    {
        "classes": ["golgi", "nuclei"],
        "preprocessing.downsampling": [1, 2, 2],
        "training.patch_shape": [16, 16, 16],
        # As far as the networks of these tests see.
        "inference.halo": 20,
    }
)


@pytest.fixture(scope="module")
def network():
    return lively(resnet_generator(2, 2, filters=4, blocks=1, end_kernel=3))


@pytest.fixture(scope="module")
def model(network):
    return SegmentationModel(network, CONFIG)


@pytest.fixture(scope="module")
def volume():
    rng = np.random.default_rng(3)
    coarse = rng.gamma(2.0, 40.0, (*(-(-side // 3) for side in SHAPE), 2))
    array = np.kron(coarse, np.ones((3, 3, 3, 1)))[tuple(map(slice, SHAPE))]
    return Volume((array + rng.normal(300, 9, array.shape)).astype(np.uint16), (0.5, 0.2, 0.2), "cells")


@pytest.fixture
def here(tmp_path, monkeypatch, network, volume):
    """Stand in a folder with a run and a stack."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    network.save(run / "image_to_mask.keras")
    CONFIG.save(run / "config.json")
    write_volume(tmp_path / "cells.tif", volume)
    return tmp_path


def predict(*arguments):
    return main([*map(str, ("predict", "run", *arguments))])


def probabilities(model, volume, largest, offset=(0, 0, 0)):
    source = open_source(volume)
    settled = model.settle(source, largest, offset)
    whole = np.full((*volume.shape, 2), np.nan, np.float32)

    def write(place, values):
        whole[place.slices] = values

    model.prediction(source, settled).run(settled.plan.blocks, write)
    return whole, len(settled.plan.blocks)


# ---- tiles


@pytest.mark.parametrize(
    ("largest", "offset"),
    [((20, 80, 80), (0, 0, 0)), ((20, 52, 52), (0, 0, 0)), ((20, 52, 56), (0, 12, 8)), ((20, 48, 80), (0, 4, 0))],
)
def test_no_probability_depends_on_the_tiles(model, volume, largest, offset):
    whole, n_whole = probabilities(model, volume, (256, 256, 256))
    tiled, n_tiled = probabilities(model, volume, largest, offset)
    assert n_whole == 1
    assert (n_tiled > 1) == (largest != (20, 80, 80))
    np.testing.assert_allclose(tiled, whole, atol=1e-5)
    assert whole.std() > 0.05


def test_with_statistics_of_the_tile_it_does(network, volume):
    model = SegmentationModel(network, CONFIG.replace({"inference.statistics": "tile", "inference.overlap": 8}))
    one, other = (probabilities(model, volume, largest)[0] for largest in ((16, 16, 16), (20, 32, 32)))
    assert np.abs(one - other).max() > 0.01


def test_tiles_that_the_network_cannot_take_are_made_smaller(network, volume):
    model = SegmentationModel(network, CONFIG.replace({"inference.statistics": "tile", "inference.overlap": 8}))
    one, other = (probabilities(model, volume, largest)[0] for largest in ((16, 32, 20), (19, 35, 23)))
    np.testing.assert_array_equal(one, other)


def test_statistics_of_the_tile_are_merged_as_for_a_stack_in_memory(network, volume):
    """A stack made of several blocks is what one call over the whole of it gives."""
    from tfcyclegan3d import preprocessing
    from tfcyclegan3d.inference.stitching import predict_tiles

    for merge in ("mean", "maximum"):
        config = CONFIG.replace(
            {
                "inference.statistics": "tile",
                "inference.merge": merge,
                "inference.tile_shape": [8, 8, 8],
                "inference.overlap": 4,
                "preprocessing.downsampling": [1, 1, 1],
            }
        )
        model = SegmentationModel(network, config)
        small = Volume(volume.array[:12, :30, :40], None, "small")
        bounds = preprocessing.stretch_bounds(small.array.astype(np.float32), config.preprocessing.percentiles)
        whole = predict_tiles(
            preprocessing.stretch(small.array, bounds),
            lambda batch: (network(batch).numpy() + 1) / 2,
            (8, 8, 8),
            (4, 4, 4),
            n_outputs=2,
            merge=merge,
        )
        np.testing.assert_allclose(model.predict(small).array, whole, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 300), (3, 2, 5), (70, 9, 4)])
def test_a_stack_of_any_size_is_segmented(model, shape):
    array = np.random.default_rng(0).integers(0, 99, (*shape, 2)).astype(np.uint8)
    array[0, 0, 0] = 200
    if min(array[..., k].ptp() for k in range(2)) == 0:
        with pytest.raises(errors.VolumeContentError, match="constant"):
            model.predict(Volume(array))
        return
    predicted = model.predict(Volume(array)).array
    assert predicted.shape == (*shape, 2)
    assert np.isfinite(predicted).all()


# ---- from file to file


def mask_of(path):
    return read_volume(path).array > 0


@pytest.mark.parametrize("form", ["tif", "zarr"])
@pytest.mark.parametrize("stored", ["tif", "zarr", "compressed"])
def test_from_file_to_file_the_mask_is_the_one_from_memory(here, model, volume, stored, form, monkeypatch):
    monkeypatch.setattr("tfcyclegan3d.tiling.SLAB_VALUES", 5000)
    name = {"tif": "cells.tif", "zarr": "cells.zarr", "compressed": "packed.tif"}[stored]
    if stored == "zarr":
        write_volume(here / name, volume)
    if stored == "compressed":
        tifffile.imwrite(name, volume.array.transpose(3, 0, 1, 2), compression="zlib", metadata={"axes": "CZYX"})
    axes = ["--axes", "CZYX"] if stored == "compressed" else []
    tile = (20, 52, 52)
    assert predict("--images", name, "-o", "out", "--format", form, "--probabilities", "--tile", "20,52,52", *axes) == 0
    stem = name.partition(".")[0]
    expected, n_blocks = probabilities(model, volume, tile)
    assert n_blocks > 1
    np.testing.assert_array_equal(read_volume(here / "out" / f"{stem}_probability.{form}").array, expected)
    np.testing.assert_array_equal(mask_of(here / "out" / f"{stem}_mask.{form}"), expected > 0.5)
    assert sorted(path.name for path in (here / "out").iterdir()) == sorted(
        [f"{stem}_mask.{form}", f"{stem}_mask.png", f"{stem}_probability.{form}"]
    )


def test_masks_open_with_their_voxel_size_and_colours(here, volume):
    assert predict("--images", "cells.tif", "-o", "tif") == 0
    assert predict("--images", "cells.tif", "-o", "zarr", "--format", "zarr") == 0
    with tifffile.TiffFile("tif/cells_mask.tif") as file:
        assert file.imagej_metadata["spacing"] == pytest.approx(0.5)
        assert file.series[0].axes == "ZCYX"
        assert set(np.unique(file.asarray())) <= {0, 255}
        assert [lut[:, 255].tolist() for lut in file.imagej_metadata["LUTs"]] == [[255, 0, 0], [0, 255, 0]]
    image = zarr.open_group("zarr/cells_mask.zarr", mode="r").attrs["ome"]
    assert [axis["name"] for axis in image["multiscales"][0]["axes"]] == ["c", "z", "y", "x"]
    scale = image["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale == pytest.approx([1, 0.5, 0.2, 0.2])
    assert [channel["label"] for channel in image["omero"]["channels"]] == ["golgi", "nuclei"]
    assert [channel["color"] for channel in image["omero"]["channels"]] == ["FF0000", "00FF00"]
    assert read_volume("zarr/cells_mask.zarr").voxel_size_um == pytest.approx((0.5, 0.2, 0.2))


def test_overwriting_leaves_nothing_of_an_earlier_call(here):
    (here / "out").mkdir()
    (here / "out" / "mine.txt").write_text("mine")
    assert predict("--images", "cells.tif", "-o", "out", "--probabilities", "--format", "zarr") == 0
    assert predict("--images", "cells.tif", "-o", "out") == 2
    assert predict("--images", "cells.tif", "-o", "out", "--overwrite") == 0
    assert {path.name for path in (here / "out").iterdir()} == {"mine.txt", "cells_mask.tif", "cells_mask.png"}


def test_overwriting_leaves_what_others_made_and_the_stacks_themselves(here, volume, capsys):
    mine = ("cells_objects.zarr/notes.txt", "cells_probability.tif", "cells_seams.png")
    (here / "cells_objects.zarr").mkdir()
    for name in mine:
        (here / name).write_text("mine")
    write_volume("cells_objects.tif", volume)  # One of the stacks, written by this package.
    assert predict("--images", "cells.tif", "cells_objects.tif", "-o", ".", "--overwrite") == 0
    assert [(here / name).read_text() for name in mine] == ["mine"] * 3
    np.testing.assert_array_equal(read_volume("cells_objects.tif").array, volume.array)
    capsys.readouterr()
    before = (here / "cells_mask.tif").read_bytes()
    assert predict("--images", "cells.tif", "cells_mask.tif", "-o", ".", "--overwrite") == 2
    one_line(capsys, "cells_mask.tif", "would replace it")
    assert (here / "cells_mask.tif").read_bytes() == before


def test_a_picture_of_seams_is_gone_with_the_call_that_drew_it(here):
    assert predict("--images", "cells.tif", "-o", "out", "--tile", "20,52,52", "--check-seams") == 0
    assert predict("--images", "cells.tif", "-o", "out", "--overwrite") == 0
    assert not (here / "out" / "cells_seams.png").exists()


def test_seams_are_counted_and_drawn(here, capsys):
    assert predict("--images", "cells.tif", "-o", "out", "--tile", "20,52,52", "--check-seams") == 0
    said = capsys.readouterr().out
    assert "20x52x52" in said
    assert "golgi 0.000% of the stack, 0.00% of its mask, nuclei 0.000% of the stack, 0.00% of its mask" in said
    assert (here / "out" / "cells_seams.png").stat().st_size > 1000


def test_seams_that_are_there_are_found(here, capsys):
    arguments = ("--set", "inference.halo=0", "--tile", "16,16,16", "--check-seams")
    assert predict("--images", "cells.tif", "-o", "out", *arguments) == 0
    shares = np.reshape([float(share) for share in re.findall(r"([\d.]+)%(?= of)", capsys.readouterr().out)], (2, 2))
    assert shares[:, 0].max() > 0.1
    in_mask = mask_of("out/cells_mask.tif").mean(axis=(0, 1, 2))
    np.testing.assert_allclose(shares[:, 1] * in_mask, shares[:, 0], atol=0.01)


def test_of_a_stack_in_one_tile_it_is_said_that_there_is_nothing_to_compare(here, capsys):
    write_volume("tiny.tif", Volume(read_volume("cells.tif").array[:3, :5, :7]))
    assert predict("--images", "tiny.tif", "-o", "out", "--check-seams", "--objects") == 0
    said = capsys.readouterr().out
    assert "seams: the stack fits into one tile; nothing to compare" in said
    assert "0.000%" not in said
    assert not (here / "out" / "tiny_seams.png").exists()


def test_no_picture_of_seams_is_left_by_what_fails_or_is_stopped_after_it(here, monkeypatch, capsys):
    def full(*arguments, **named):
        raise errors.OutputError("out", "No space left on device")

    def stopped(*arguments, **named):
        raise KeyboardInterrupt

    arguments = ("--images", "cells.tif", "-o", "out", "--tile", "20,52,52", "--check-seams", "--objects", "--quiet")
    with monkeypatch.context() as patch:
        patch.setattr(whole_stacks, "number_objects", full)
        assert predict(*arguments) == 2
    assert not (here / "out").exists()
    with monkeypatch.context() as patch:
        patch.setattr(whole_stacks, "number_objects", stopped)
        assert predict(*arguments) == 130
    assert predict(*arguments) == 0
    assert (here / "out" / "cells_seams.png").is_file()


# ---- interrupted


class Stopping:
    """Interrupt after some blocks, wherever the training of a stack is."""

    def __init__(self, monkeypatch, after):
        self.made = []
        real = whole_stacks.make_blocks

        def make(job, model, workspace, numbers, on_block, source=None):
            def counted():
                on_block()
                self.made.append(job.name)
                if len(self.made) == after:
                    raise KeyboardInterrupt

            real(job, model, workspace, numbers, counted, source)

        monkeypatch.setattr(whole_stacks, "make_blocks", make)


def test_an_interrupted_prediction_goes_on_behind_the_last_block(here, model, volume, monkeypatch, capsys):
    shutil.copy("cells.tif", "other.tif")
    arguments = ("--images", "cells.tif", "other.tif", "-o", "out", "--tile", "20,52,52")
    expected, n_blocks = probabilities(model, volume, (20, 52, 52))
    with monkeypatch.context() as patch:
        Stopping(patch, n_blocks + 2)
        assert predict(*arguments) == 130
    assert (here / "out" / "cells_mask.tif").is_file()
    assert not (here / "out" / "other_mask.tif").exists()
    with monkeypatch.context() as patch:
        again = Stopping(patch, 10**9)
        assert predict(*arguments) == 0
    assert len(again.made) <= n_blocks - 2
    assert set(again.made) == {"other"}
    said = capsys.readouterr().out
    assert "cells_mask.tif" in said
    assert "were there" in said
    for name in ("cells", "other"):
        np.testing.assert_array_equal(mask_of(here / "out" / f"{name}_mask.tif"), expected > 0.5)
    assert not (here / "out" / WORKSPACES).exists()


def test_another_call_does_not_go_on_with_what_it_did_not_begin(here, monkeypatch):
    with monkeypatch.context() as patch:
        Stopping(patch, 2)
        assert predict("--images", "cells.tif", "-o", "out", "--tile", "20,52,52") == 130
    with monkeypatch.context() as patch:
        again = Stopping(patch, 10**9)
        assert predict("--images", "cells.tif", "-o", "out", "--tile", "20,52,52", "--threshold", "0.4") == 0
    assert len(again.made) == len(load_model("run").plan((20, 65, 75), (20, 52, 52)).blocks)


def test_a_stack_that_was_finished_in_another_format_is_made_again(here, monkeypatch):
    shutil.copy("cells.tif", "other.tif")
    arguments = ("--images", "cells.tif", "other.tif", "-o", "out", "--tile", "20,52,52", "--overwrite")
    n_blocks = len(load_model("run").plan((20, 65, 75), (20, 52, 52)).blocks)
    with monkeypatch.context() as patch:
        Stopping(patch, n_blocks + 1)
        assert predict(*arguments) == 130
    assert predict(*arguments, "--format", "zarr") == 0
    assert (here / "out" / "cells_mask.zarr").is_dir()
    assert not (here / "out" / "cells_mask.tif").exists()


def test_calls_for_other_stacks_leave_each_others_work_alone(here, monkeypatch):
    shutil.copy("cells.tif", "other.tif")
    arguments = ("--images", "cells.tif", "-o", "out", "--tile", "20,52,52")
    with monkeypatch.context() as patch:
        Stopping(patch, 3)
        assert predict(*arguments) == 130
    assert predict("--images", "other.tif", "-o", "out") == 0
    assert predict("--images", "other.tif", "-o", "out") == 2  # Its masks are there: refused, and tidied up after.
    with monkeypatch.context() as patch:
        again = Stopping(patch, 10**9)
        assert predict(*arguments) == 0
    assert len(again.made) <= len(load_model("run").plan((20, 65, 75), (20, 52, 52)).blocks) - 2
    assert not (here / "out" / WORKSPACES).exists()


def test_files_of_others_are_not_replaced_by_going_on(here, monkeypatch):
    with monkeypatch.context() as patch:
        Stopping(patch, 2)
        assert predict("--images", "cells.tif", "-o", "out", "--tile", "20,52,52") == 130
    (here / "out" / "cells_mask.tif").write_text("mine")
    assert predict("--images", "cells.tif", "-o", "out", "--tile", "20,52,52") == 2
    assert (here / "out" / "cells_mask.tif").read_text() == "mine"


# ---- bad input


def one_line(capsys, *said):
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    for text in said:
        assert text in error


def test_every_stack_is_looked_through_before_the_first_is_segmented(here, monkeypatch, capsys):
    tifffile.imwrite("flat.tif", np.full((2, 5, 6, 7), 3, np.uint8), metadata={"axes": "CZYX"})
    made = Stopping(monkeypatch, 10**9)
    arguments = ("--images", "cells.tif", "flat.tif", "-o", "out", "--axes", "CZYX", "--quiet")
    write = read_volume("cells.tif").array.transpose(3, 0, 1, 2)
    tifffile.imwrite("cells.tif", write, metadata={"axes": "CZYX"})
    assert predict(*arguments) == 2
    one_line(capsys, "flat: channel 0 is constant (value 3")
    assert made.made == []
    assert not (here / "out").exists()


def test_a_stack_of_one_channel_is_refused_by_a_model_of_two(here, capsys):
    tifffile.imwrite("one.tif", np.arange(6 * 7 * 8, dtype=np.uint16).reshape(6, 7, 8))
    assert predict("--images", "one.tif", "-o", "out", "--axes", "ZYX") == 2
    one_line(capsys, "segments 2 class(es), golgi, nuclei, but one has 1 channel", "--channels")


def test_a_chunk_that_is_missing_or_damaged_is_named_and_nothing_is_left(here, volume, capsys):
    write_volume("whole.zarr", volume)
    chunks = sorted(path for path in (here / "whole.zarr" / "0" / "c").rglob("*") if path.is_file())
    content, key = chunks[-1].read_bytes(), chunks[-1].relative_to(here / "whole.zarr" / "0").as_posix()
    chunks[-1].unlink()
    assert predict("--images", "whole.zarr", "-o", "out", "--quiet") == 2
    one_line(capsys, "whole.zarr", key, "--missing-chunks fill")
    assert not (here / "out").exists()
    chunks[-1].write_bytes(content[:-5])
    assert predict("--images", "whole.zarr", "-o", "out", "--quiet") == 2
    one_line(capsys, "whole.zarr", key)
    assert not (here / "out").exists()


def test_a_zarr_that_was_changed_in_place_is_another_stack(here, volume):
    write_volume("whole.zarr", volume)
    before = version_of(here / "whole.zarr")
    assert version_of(here / "whole.zarr") == before
    zarr.open_group("whole.zarr", mode="r+")["0"][0, 0, 0] = 7
    assert version_of(here / "whole.zarr") != before


def test_chunks_that_are_empty_on_purpose_are_filled(here, volume, capsys):
    write_volume("whole.zarr", volume)
    chunk = max(path for path in (here / "whole.zarr" / "0" / "c" / "1").rglob("*") if path.is_file())
    chunk.unlink()
    assert predict("--images", "whole.zarr", "-o", "out", "--missing-chunks", "fill", "--quiet") == 0
    capsys.readouterr()
    for other in (here / "whole.zarr" / "0" / "c" / "1").rglob("*"):
        if other.is_file():
            other.unlink()
    assert predict("--images", "whole.zarr", "-o", "more", "--missing-chunks", "fill", "--quiet") == 2
    one_line(capsys, "channel 1 is constant")


@pytest.mark.parametrize("step", ["write", "finish"])
def test_a_full_disk_is_said_in_one_line_and_leaves_nothing(here, monkeypatch, capsys, step):
    def full(*arguments, **named):
        raise errors.OutputError("out", "No space left on device")

    if step == "write":
        monkeypatch.setattr("tfcyclegan3d.inference.workspace.write_box", full)
    else:
        monkeypatch.setattr("tfcyclegan3d.inference.finishing.write_planes", full)
    assert predict("--images", "cells.tif", "-o", "out", "--quiet") == 2
    one_line(capsys, "No space left on device")
    assert not (here / "out").exists()


def test_an_error_in_a_later_stack_says_what_to_do_about_those_that_are_finished(here, monkeypatch, capsys):
    real = whole_stacks.make_blocks

    def full(job, *rest):
        if job.name == "third":
            raise errors.OutputError("out", "No space left on device")
        real(job, *rest)

    shutil.copy("cells.tif", "other.tif")
    shutil.copy("cells.tif", "third.tif")
    with monkeypatch.context() as patch:
        patch.setattr(whole_stacks, "make_blocks", full)
        assert predict("--images", "cells.tif", "other.tif", "third.tif", "-o", "out", "--quiet") == 2
    one_line(
        capsys,
        "No space left on device",
        "the first 2 stacks are finished: then give --images the last one alone, or all with --overwrite",
    )
    assert not (here / "out" / WORKSPACES).exists()
    assert predict("--images", "third.tif", "-o", "out", "--quiet") == 0
    assert {path.name for path in (here / "out").glob("*.tif")} == {
        f"{n}_mask.tif" for n in ("cells", "other", "third")
    }


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_of_a_truncated_stack_it_is_said_what_is_missing(here, volume, capsys, compression):
    array = volume.array.transpose(0, 3, 1, 2)
    tifffile.imwrite("cut.tif", array, imagej=True, metadata={"axes": "ZCYX"}, compression=compression)
    whole = (here / "cut.tif").read_bytes()
    (here / "cut.tif").write_bytes(whole[: len(whole) * 2 // 3])
    assert predict("--images", "cut.tif", "-o", "out", "--quiet") == 2
    one_line(capsys, "cut.tif", "truncated")
    assert not (here / "out").exists()


@pytest.mark.parametrize("kind", ["none", "empty", "file", "of a training without an epoch"])
def test_a_folder_that_is_no_model_is_refused(here, capsys, kind):
    model = here / "model"
    if kind == "file":
        model.write_text("weights")
    elif kind != "none":
        model.mkdir()
    if kind.startswith("of"):
        CONFIG.save(model / "config.json")
    assert main(["predict", "model", "--images", "cells.tif", "-o", "out", "--quiet"]) == 2
    one_line(capsys, "model: ")
    assert not (here / "out").exists()


def test_a_disk_that_really_fills_up_leaves_nothing_and_says_so(here, capsys):
    """Skipped where no disk of one's own can be mounted."""
    small = here / "small"
    small.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]
    try:
        mounted = subprocess.run(mounting, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("no permission to mount a small disk")
    try:
        for form in ("tif", "zarr"):
            arguments = ("--probabilities", "--format", form, "--tile", "20,52,52", "--quiet")
            assert predict("--images", "cells.tif", "-o", "small/out", *arguments) == 2
            one_line(capsys, "cannot be written", "No space left on device")
            assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_settings_of_the_training_are_not_for_a_prediction(here, capsys):
    assert predict("--images", "cells.tif", "-o", "out", "--set", "training.epochs=3") == 2
    one_line(capsys, "training.epochs", "inference.KEY=VALUE")


def test_a_tile_without_room_for_its_surroundings_is_refused(here, capsys):
    assert predict("--images", "cells.tif", "-o", "out", "--tile", "16,16,16", "--quiet") == 2
    one_line(capsys, "at least 44 voxels, of which 40 are halo")
    assert not (here / "out").exists()


# ---- python


def test_the_python_interface_does_the_same(here, volume, model):
    loaded = tc.load_model("run")
    np.testing.assert_array_equal(loaded.predict(volume).array, model.predict(volume).array)
    assert json.loads((here / "run" / "config.json").read_text())["inference"]["statistics"] == "stack"


# ---- objects


@pytest.mark.parametrize(("suffix", "threshold"), [("tif", 0.5), ("zarr", 0.55)])
def test_objects_are_those_of_the_probabilities_in_memory(here, suffix, threshold, capsys):
    wanted = ("--objects", "--object-diameter", "golgi=6,nuclei=2um", "--format", suffix, "--tile", "20,52,52")
    wanted += ("--valley", "0.4", "--probabilities", "--threshold", str(threshold))
    assert predict("--images", "cells.tif", "-o", "masks", "--quiet", *wanted) == 0
    probability, objects = (read_volume(f"masks/cells_{kind}.{suffix}") for kind in ("probability", "objects"))
    for k, diameter in enumerate((6, 10)):
        options = {"diameter": diameter, "spacing": (2.5, 1, 1), "threshold": threshold}
        expected = tc.label_objects(probability.array[..., k], valley=0.4, **options)
        if threshold == 0.5:  # Above another, this network finds nothing that a valley would part.
            assert expected.max() < tc.label_objects(probability.array[..., k], **options).max()
        np.testing.assert_array_equal(objects.array[..., k], expected)
    assert objects.array.max() > 3
    assert objects.voxel_size_um == pytest.approx((0.5, 0.2, 0.2))
    counts = objects.array.max(axis=(0, 1, 2))
    assert f"; objects: {counts[0]} golgi, {counts[1]} nuclei" in capsys.readouterr().out
    written = [f"masks/cells_{kind}.{suffix}" for kind in ("mask", "probability", "objects")]
    assert [read_class_names(path, 2) for path in written] == [("golgi", "nuclei")] * 3
    assert not list((here / "masks").glob(".unfinished*"))


def test_the_runs_prior_tells_the_diameters():
    from tfcyclegan3d.inference.objects import diameters_of
    from tfcyclegan3d.synthesis.prior import NUCLEI_AND_GOLGI
    from tfcyclegan3d.volumes import Grid

    grid = Grid(SHAPE, 2, (0.5, 0.2, 0.2), "cells")
    in_voxels = CONFIG.replace({"synthesis.prior": NUCLEI_AND_GOLGI.to_dict()})
    assert diameters_of(in_voxels, grid, {}) == ({"golgi": 14.0, "nuclei": 21.0}, (1.0, 1.0, 1.0))
    prior = tc.prior_for({"golgi": 3.0, "nuclei": 6.0}, 0.1, unit="um")
    in_um = CONFIG.replace({"synthesis.prior": prior.to_dict()})
    found, spacing = diameters_of(in_um, grid, {"golgi": "2um"})
    assert found == pytest.approx({"golgi": 10.0, "nuclei": 30.0})
    assert spacing == pytest.approx((2.5, 1.0, 1.0))


def test_diameters_of_objects_that_nobody_numbers_and_of_unknown_classes_are_refused(here, capsys):
    assert predict("--images", "cells.tif", "-o", "masks", "--object-diameter", "golgi=6") == 2
    assert "add --objects" in capsys.readouterr().err
    assert predict("--images", "cells.tif", "-o", "masks", "--objects", "--object-diameter", "er=6") == 2
    assert "the classes are golgi, nuclei" in capsys.readouterr().err
    assert predict("--images", "cells.tif", "-o", "masks", "--valley", "0.05") == 2
    assert "add --objects" in capsys.readouterr().err
    assert predict("--images", "cells.tif", "-o", "masks", "--objects", "--valley", "-1") == 2
    assert "at least 0 and less than 1" in capsys.readouterr().err
    assert not (here / "masks").exists()
