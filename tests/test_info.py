"""``info`` prints how each stack is read, and writes nothing."""

import argparse
import json
import tracemalloc

import numpy as np
import pytest
import tifffile

from tfcyclegan3d import errors, tiling
from tfcyclegan3d.cli import info
from tfcyclegan3d.describing import PERCENTILES, describe
from tfcyclegan3d.tiff import reading
from tfcyclegan3d.volumes import Volume, read_volume, write_volume


def run(*arguments):
    parser = argparse.ArgumentParser()
    info.add_arguments(parser)
    return info.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def two_stacks(tmp_path):
    values = np.arange(2 * 5 * 5 * 2, dtype=np.uint16).reshape(2, 5, 5, 2)
    write_volume(tmp_path / "cell2.tif", Volume(values, (0.5, 0.2, 0.2)))
    write_volume(tmp_path / "cell10.tif", Volume(np.full((3, 4, 5), 0.25, np.float32)))
    return tmp_path


def test_each_stack_is_described_in_aligned_lines(two_stacks, capsys):
    assert not run(two_stacks)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:8] == [
        str(two_stacks / "cell2.tif"),
        "  stored      ZCYX 2 x 2 x 5 x 5",
        "  read as     ZYX 2 x 5 x 5, 2 channels",
        "  type        uint16",
        "  voxel size  0.5 x 0.2 x 0.2 um (z, y, x)",
        "  channel  min  max  mean   1 %  50 %  95 %   98 %  99.8 %",
        "        0    0   98    49  0.98    49  93.1  96.04  97.804",
        "        1    1   99    50  1.98    50  94.1  97.04  98.804",
    ]
    assert lines[8:13] == [
        "",
        str(two_stacks / "cell10.tif"),
        "  stored      ZCYX 3 x 1 x 4 x 5",
        "  read as     ZYX 3 x 4 x 5, 1 channel",
        "  type        float32",
    ]
    assert lines[13] == "  voxel size  not stated in the file for all of Z, Y and X"
    assert sorted(path.name for path in two_stacks.iterdir()) == ["cell10.tif", "cell2.tif"]


def test_json_is_a_list_with_one_entry_per_stack(two_stacks, capsys):
    run(two_stacks / "cell10.tif", "--json")
    (described,) = json.loads(capsys.readouterr().out)
    assert described["path"] == str(two_stacks / "cell10.tif")
    assert (described["shape"], described["dtype"], described["voxel_size_um"]) == ([3, 4, 5, 1], "float32", None)
    assert described["channels"] == [
        {"min": 0.25, "max": 0.25, "mean": 0.25, "percentiles": dict.fromkeys(["1", "50", "95", "98", "99.8"], 0.25)}
    ]


def test_axes_are_taken_from_the_command_line(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 22, 6, 3), np.uint8), photometric="rgb")
    run(tmp_path / "a.tif", "--axes", "YXZC")
    assert "  read as     ZYX 6 x 20 x 22, 3 channels, by --axes YXZC" in capsys.readouterr().out.splitlines()


def test_a_dimension_without_a_name_and_a_voxel_size_that_was_given_are_said_to_be(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((6, 20, 22), np.uint8), photometric="minisblack")
    run(tmp_path / "a.tif", "--voxel-size", "2,0.5,0.5")
    lines = capsys.readouterr().out.splitlines()
    assert "  stored      QYX 6 x 20 x 22 (Q: not named in the file)" in lines
    assert "  voxel size  2 x 0.5 x 0.5 um (z, y, x), as given" in lines
    run(tmp_path / "a.tif", "--voxel-size", "2,0.5,0.5", "--json")
    assert json.loads(capsys.readouterr().out)[0]["voxel_size_um"] == [2, 0.5, 0.5]


def test_a_stack_that_cannot_be_read_ends_with_the_users_error(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 22), np.uint8))
    with pytest.raises(errors.AxesError, match="a 2D image"):
        run(tmp_path / "a.tif")
    with pytest.raises(errors.FileMissingError):
        run(tmp_path / "b.tif")


@pytest.mark.parametrize("name", ["a.tif", "a.zarr"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_a_stack_in_parts_is_described_as_a_whole_one(tmp_path, monkeypatch, name, dtype):
    values = (300 * np.random.default_rng(0).normal(size=(6, 9, 8, 2))).astype(dtype)
    write_volume(tmp_path / name, Volume(values))
    whole = describe(tmp_path / name)
    monkeypatch.setattr(tiling, "SLAB_VALUES", 100)
    parts = describe(tmp_path / name)
    for k, (one, other) in enumerate(zip(whole["channels"], parts["channels"], strict=True)):
        channel = read_volume(tmp_path / name).array[..., k]
        assert (other["min"], other["max"]) == (channel.min(), channel.max())
        assert list(other["percentiles"].values()) == np.percentile(channel, PERCENTILES).tolist()
        assert one["mean"] == channel.mean(dtype=np.float64)
        assert other.pop("mean") == pytest.approx(one.pop("mean"))
    assert parts == whole


def test_a_stack_is_not_taken_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST_IN_MEMORY", 2**20)
    monkeypatch.setattr(tiling, "SLAB_VALUES", 2**18)
    values = (np.arange(2**24) % 60000).astype(np.uint16).reshape(64, 512, 512)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    tracemalloc.start()
    described = describe(tmp_path / "a.tif")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < values.nbytes / 2
    assert list(described["channels"][0]["percentiles"].values()) == np.percentile(values, PERCENTILES).tolist()


def test_the_command_has_a_summary_and_an_example():
    assert info.SUMMARY[-1].isalnum()
    assert info.EXAMPLE.startswith("tfcyclegan3d info ")
