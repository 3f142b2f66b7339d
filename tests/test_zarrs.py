"""OME-Zarr and plain zarr arrays are read as ZYXC, whoever wrote them; what is written is what viewers expect."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.zarr_files import stored_as, write_array, write_image
from tfcyclegan3d import errors, volumes
from tfcyclegan3d.cli.main import main
from tfcyclegan3d.describing import describe
from tfcyclegan3d.stored_stacks import read_class_names
from tfcyclegan3d.volumes import Volume, find_images, find_stacks, read_grid, read_volume, write_volume
from tfcyclegan3d.zarrs import pyramid
from tfcyclegan3d.zarrs.pyramid import build_pyramid, plan_levels, reduced
from tfcyclegan3d.zarrs.reading import open_zarr
from tfcyclegan3d.zarrs.writing import create_zarr, open_to_write, write_box


def stack(shape=(5, 7, 9, 2), dtype=np.uint16, seed=0):
    """A stack without two equal values next to each other, so that a swapped axis cannot go unseen."""
    return np.random.default_rng(seed).permutation(math.prod(shape)).reshape(shape).astype(dtype)


def error_of(path, axes=None, kind=errors.UserError):
    with pytest.raises(kind) as caught:
        read_volume(path, axes)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


# ---- reading


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("axes", ["czyx", "tczyx", "zyxc", "xyzc", "zcyx", "ctxyz"])
def test_an_image_is_read_whatever_its_axes(tmp_path, axes, zarr_format):
    array = stack()
    write_image(tmp_path / "a.zarr", stored_as(array, axes), axes, zarr_format=zarr_format)
    read = read_volume(tmp_path / "a.zarr")
    np.testing.assert_array_equal(read.array, array)
    assert (read.array.dtype, read.name, read.voxel_size_um) == (np.uint16, "a", None)
    assert read_grid(tmp_path / "a.zarr") == read.grid


@pytest.mark.parametrize("axes", ["zyx", "tzyx", "xzy"])
def test_an_image_without_channels_has_one(tmp_path, axes):
    array = stack((5, 7, 9, 1))
    write_image(tmp_path / "a.zarr", stored_as(array, axes), axes)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.zarr").array, array)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", ["uint8", "int16", ">u2", "uint32", "int64", "float32", ">f8", "bool"])
def test_every_type_of_numbers_is_read_in_the_machines_byte_order(tmp_path, dtype, zarr_format):
    array, options = stack(dtype="uint8").astype(dtype), {}
    if zarr_format == 3 and not array.dtype.isnative:
        # There the byte order is the codec's, not the type's.
        array, options = (
            array.astype(array.dtype.newbyteorder("=")),
            {"serializer": zarr.codecs.BytesCodec(endian="big")},
        )
    write_image(tmp_path / "a.zarr", stored_as(array, "czyx"), zarr_format=zarr_format, **options)
    read = read_volume(tmp_path / "a.zarr").array
    np.testing.assert_array_equal(read, array)
    assert read.dtype == np.dtype(dtype).newbyteorder("=")
    assert read.dtype.isnative


def test_complex_numbers_are_no_stack(tmp_path):
    write_array(tmp_path / "a.zarr", np.ones((3, 4, 5), np.complex64), zarr_format=2)
    assert "holds values of type complex64" in error_of(tmp_path / "a.zarr", kind=errors.VolumeContentError)


@pytest.mark.parametrize(
    ("units", "scale", "image_scale", "expected"),
    [
        (("micrometer",) * 3, [3.0, 0.5, 0.25], None, (3.0, 0.5, 0.25)),
        (("nanometer",) * 3, [3000.0, 500.0, 250.0], None, (3.0, 0.5, 0.25)),
        (("millimeter", "nanometer", "angstrom"), [0.003, 500.0, 2500.0], None, (3.0, 0.5, 0.25)),
        (("micrometer",) * 3, [1.5, 1.0, 0.25], [2.0, 0.5, 1.0], (3.0, 0.5, 0.25)),
        ((None,) * 3, [3.0, 0.5, 0.25], None, None),
        (("micrometer", "micrometer", None), [3.0, 0.5, 0.25], None, None),
        (("parsec",) * 3, [3.0, 0.5, 0.25], None, None),
        (("micrometer",) * 3, [0.0, 0.5, 0.25], None, None),
    ],
)
def test_the_voxel_size_is_the_product_of_the_scales_in_micrometres(tmp_path, units, scale, image_scale, expected):
    if image_scale:
        image_scale = [1.0, *image_scale]
    write_image(
        tmp_path / "a.zarr", stack((2, 3, 4, 5)), "czyx", [1.0, *scale], [None, *units], image_scale=image_scale
    )
    assert read_volume(tmp_path / "a.zarr").voxel_size_um == expected


def test_the_scale_belongs_to_its_axis_whatever_their_order(tmp_path):
    write_image(tmp_path / "a.zarr", stack((2, 3, 4, 5)), "xycz", [0.25, 0.5, 1.0, 3.0], ["um", "um", None, "um"])
    assert read_volume(tmp_path / "a.zarr").voxel_size_um == (3.0, 0.5, 0.25)


def test_axes_given_win_and_leave_a_voxel_size_only_where_y_and_x_stay(tmp_path):
    array = stack((5, 7, 9, 2))
    write_image(tmp_path / "a.zarr", array.transpose(3, 0, 1, 2), "czyx", [1, 3, 0.5, 0.25], [None, "um", "um", "um"])
    read = read_volume(tmp_path / "a.zarr", axes="CXYZ")
    np.testing.assert_array_equal(read.array, array.transpose(2, 1, 0, 3))
    assert read.voxel_size_um is None
    assert read_volume(tmp_path / "a.zarr", axes="CZYX").voxel_size_um == (3.0, 0.5, 0.25)
    assert read_volume(tmp_path / "a.zarr", voxel_size_um=(1, 2, 3)).voxel_size_um == (1, 2, 3)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_plain_array_of_three_dimensions_is_zyx_and_others_need_their_axes(tmp_path, zarr_format):
    array = stack((5, 7, 9, 2))
    write_array(tmp_path / "three.zarr", array[..., 0], zarr_format)
    np.testing.assert_array_equal(read_volume(tmp_path / "three.zarr").array, array[..., :1])
    write_array(tmp_path / "one plane.zarr", array[:1, :, :, 0], zarr_format)
    assert read_grid(tmp_path / "one plane.zarr").shape == (1, 7, 9)
    write_array(tmp_path / "four.zarr", array, zarr_format)
    assert "found axes QQQQ of shape (5, 7, 9, 2)" in error_of(tmp_path / "four.zarr", kind=errors.AxesError)
    np.testing.assert_array_equal(read_volume(tmp_path / "four.zarr", "ZYXC").array, array)
    np.testing.assert_array_equal(read_volume(tmp_path / "four.zarr", "XZYC").array, array.transpose(1, 2, 0, 3))
    write_array(tmp_path / "two.zarr", array[0, :, :, 0], zarr_format)
    assert "a 2D image" in error_of(tmp_path / "two.zarr", kind=errors.AxesError)


def test_axes_may_leave_out_dimensions_of_length_1(tmp_path):
    array = stack((5, 7, 9, 2))
    write_array(tmp_path / "a.zarr", array[None])
    np.testing.assert_array_equal(read_volume(tmp_path / "a.zarr", "ZYXC").array, array)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.zarr", "TZYXC").array, array)


def test_a_plain_arrays_dimension_names_are_its_axes(tmp_path):
    array = stack((5, 7, 9, 2))
    write_array(tmp_path / "v3.zarr", array.transpose(2, 0, 3, 1), dimension_names=("x", "z", "c", "y"))
    write_array(tmp_path / "v2.zarr", array.transpose(2, 0, 3, 1), 2, attributes={"_ARRAY_DIMENSIONS": [*"xzcy"]})
    for name in ("v3.zarr", "v2.zarr"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).array, array)
    write_array(tmp_path / "odd.zarr", array[..., 0], dimension_names=("depth", "y", "x"))
    np.testing.assert_array_equal(read_volume(tmp_path / "odd.zarr").array, array[..., :1])


def test_several_timepoints_are_an_error(tmp_path):
    write_image(tmp_path / "a.zarr", stack((3, 4, 5, 6)), "tzyx")
    assert "3 timepoints where one is wanted" in error_of(tmp_path / "a.zarr", kind=errors.AxesError)


def test_versions_without_named_axes_are_tczyx(tmp_path):
    array = stack((5, 7, 9, 2))
    zarr.create_group(
        str(tmp_path / "a.zarr"), zarr_format=2, attributes={"multiscales": [{"datasets": [{"path": "scale/full"}]}]}
    )
    write_array(tmp_path / "a.zarr" / "scale" / "full", stored_as(array, "tczyx"), 2)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.zarr").array, array)


def test_level_0_is_read_of_a_pyramid_and_other_levels_by_their_path(tmp_path):
    array = stack((4, 300, 40, 1))
    write_volume(tmp_path / "a.zarr", Volume(array))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.zarr").array, array)
    coarser = read_volume(tmp_path / "a.zarr" / "1")
    assert (coarser.shape, coarser.name) == ((2, 150, 20), "a_1")


def test_the_only_series_of_bioformats2raw_is_the_image(tmp_path):
    zarr.create_group(str(tmp_path / "a.zarr"), zarr_format=2, attributes={"bioformats2raw.layout": 3})
    write_image(tmp_path / "a.zarr" / "0", stack((2, 3, 4, 5)), zarr_format=2)
    assert read_volume(tmp_path / "a.zarr").array.shape == (3, 4, 5, 2)
    write_image(tmp_path / "a.zarr" / "1", stack((2, 3, 4, 5)), zarr_format=2)
    message = error_of(tmp_path / "a.zarr", kind=errors.VolumeContentError)
    assert (
        f"holds 2 images where one is wanted; give one of its images, for example {tmp_path / 'a.zarr' / '0'}"
        in message
    )


def test_channels_are_selected_in_the_order_asked_for(tmp_path):
    array = stack((5, 7, 9, 4))
    write_image(tmp_path / "a.zarr", stored_as(array, "czyx"))
    for channels in ([2], [1, 2], [3, 1], [0, 2], [1, 1]):
        np.testing.assert_array_equal(read_volume(tmp_path / "a.zarr", None, channels).array, array[..., channels])
    with pytest.raises(errors.ChannelError, match="were asked for"):
        read_grid(tmp_path / "a.zarr", None, (4,))


def test_nan_is_said_as_of_a_tiff(tmp_path):
    array = np.ones((2, 3, 4), np.float32)
    array[0, 0, 0] = np.nan
    write_array(tmp_path / "a.zarr", array)
    assert "holds 1 voxel of NaN or infinite value" in error_of(tmp_path / "a.zarr", kind=errors.VolumeContentError)


# ---- what cannot be read


def test_a_folder_that_is_no_zarr_is_an_error(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    assert "it holds neither zarr.json nor .zarray nor .zgroup" in error_of(tmp_path / "a.zarr")
    (tmp_path / "b.zarr").write_text("a file")
    assert "cannot be read" in error_of(tmp_path / "b.zarr")
    assert "no such file" in error_of(tmp_path / "c.zarr")


@pytest.mark.parametrize(
    ("attributes", "what", "example"),
    [
        ({"plate": {"wells": [{"path": "B/03"}]}}, "is a plate of wells, not one image", "B/03/0"),
        ({"well": {"images": [{"path": "1"}]}}, "is a well of several fields, not one image", "1"),
        ({}, "is a zarr group without an image (it holds 0, 1)", "0"),
    ],
)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_group_without_an_image_says_what_it_is(tmp_path, attributes, what, example, zarr_format):
    attributes = attributes if zarr_format == 2 else {"ome": attributes}
    zarr.create_group(str(tmp_path / "a.zarr"), zarr_format=zarr_format, attributes=attributes)
    for name in "01":
        write_array(tmp_path / "a.zarr" / name, stack((2, 3, 4)), zarr_format)
    message = error_of(tmp_path / "a.zarr", kind=errors.VolumeContentError)
    assert (
        message == f"{tmp_path / 'a.zarr'}: {what}; give one of its images, for example {tmp_path / 'a.zarr' / example}"
    )


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("zarr.json", "{", "its zarr.json is damaged"),
        ("zarr.json", "[]", "it holds no object"),
        ("zarr.json", '{"node_type": "leaf"}', "neither an array nor a group"),
        ("0/zarr.json", "{", "zarr refuses its metadata"),
        ("0/zarr.json", None, "zarr refuses its metadata"),
        ("zarr.json", {"multiscales": [{"axes": []}]}, "its multiscales metadata is incomplete or damaged"),
        ("zarr.json", {"multiscales": 3}, "its multiscales metadata is incomplete or damaged"),
        ("zarr.json", {"multiscales": [{"axes": [*"yx"], "datasets": [{"path": "0"}]}]}, "names 2 dimensions"),
        ("zarr.json", {"multiscales": [{"datasets": [{"path": "none"}]}]}, "its level 0, none, is not there"),
    ],
)
def test_unreadable_metadata_is_named(tmp_path, file, content, what):
    write_image(tmp_path / "a.zarr", stack((2, 3, 4, 5)))
    if isinstance(content, dict):
        content = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"ome": content}})
    if content is None:
        (tmp_path / "a.zarr" / file).unlink()
    else:
        (tmp_path / "a.zarr" / file).write_text(content)
    assert what in error_of(tmp_path / "a.zarr", kind=errors.UnreadableFileError)


@pytest.mark.parametrize(("file", "zarr_format"), [("zarr.json", 3), (".zarray", 2)])
def test_a_codec_that_is_not_installed_is_an_error_of_its_own(tmp_path, file, zarr_format):
    write_array(tmp_path / "a.zarr", stack((2, 3, 4)), zarr_format)
    metadata = json.loads((tmp_path / "a.zarr" / file).read_text())
    metadata |= {"codecs": [*metadata.get("codecs", [])[:1], {"name": "secret"}], "compressor": {"id": "secret"}}
    metadata.pop("compressor" if zarr_format == 3 else "codecs")
    (tmp_path / "a.zarr" / file).write_text(json.dumps(metadata))
    message = error_of(tmp_path / "a.zarr", kind=errors.UnreadableFileError)
    assert "its codec is not known here: " in message
    assert "secret" in message
    assert message.endswith("install the package that brings it, or write the stack again with zstd, blosc or gzip")


def chunk_files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name[0].isdigit())


LAYOUTS = {
    "v3": {"zarr_format": 3, "chunks": (1, 2, 3, 4)},
    "v2": {"zarr_format": 2, "chunks": (1, 2, 3, 4)},
    "v2 with dots": {
        "zarr_format": 2, "chunks": (1, 2, 3, 4), "chunk_key_encoding": {"name": "v2", "separator": "."},
    },
    "sharded": {"zarr_format": 3, "chunks": (1, 2, 3, 2), "shards": (1, 4, 6, 4)},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("how", ["removed", "emptied"])
def test_a_missing_chunk_is_an_error_that_names_it(tmp_path, layout, how):
    array = stack((2, 4, 6, 8))
    write_image(tmp_path / "a.zarr", array, **LAYOUTS[layout])
    np.testing.assert_array_equal(read_volume(tmp_path / "a.zarr").array, array.transpose(1, 2, 3, 0))
    files = chunk_files(tmp_path / "a.zarr" / "0")
    for file in (files[1], files[-1]):
        file.unlink() if how == "removed" else file.write_bytes(b"")
    key = files[1].relative_to(tmp_path / "a.zarr" / "0").as_posix()
    expected = f"chunk {key} is missing, 2 of {len(files)} are); copy it again whole, or add --missing-chunks fill"
    assert expected in error_of(tmp_path / "a.zarr", kind=errors.UnreadableFileError)
    for read in (read_grid, describe, open_zarr):
        with pytest.raises(errors.UnreadableFileError, match=r"2 of \d+ are"):
            read(tmp_path / "a.zarr")


def test_missing_chunks_are_empty_where_that_is_allowed(tmp_path):
    array = stack((2, 4, 6, 8)) + 1
    write_image(tmp_path / "a.zarr", array, chunks=(1, 2, 6, 8), fill_value=3)
    (tmp_path / "a.zarr" / "0" / "c" / "1" / "0" / "0" / "0").unlink()
    array[1, :2] = 3
    read = read_volume(tmp_path / "a.zarr", allow_missing_chunks=True)
    np.testing.assert_array_equal(read.array, array.transpose(1, 2, 3, 0))
    assert read_grid(tmp_path / "a.zarr", allow_missing_chunks=True) == read.grid


def test_chunks_that_a_writer_left_out_within_a_shard_are_none_that_is_missing(tmp_path):
    array = np.zeros((1, 4, 6, 8), np.uint16)
    array[0, 0, 0, 0] = 7
    write_image(tmp_path / "a.zarr", array, **LAYOUTS["sharded"])
    np.testing.assert_array_equal(read_volume(tmp_path / "a.zarr").array, array.transpose(1, 2, 3, 0))


COMPRESSED = {
    "v3 zstd": {"compressors": zarr.codecs.ZstdCodec(checksum=True)},
    "v3 gzip": {"compressors": zarr.codecs.GzipCodec()},
    "v3 blosc": {"compressors": zarr.codecs.BloscCodec()},
    "v3 raw": {"compressors": None},
    "v3 sharded": LAYOUTS["sharded"],
    "v2 blosc": {"zarr_format": 2, "compressors": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}},
    "v2 raw": {"zarr_format": 2, "compressors": None},
}


@pytest.mark.parametrize("layout", COMPRESSED)
@pytest.mark.parametrize("kept", [0.5, -1])
def test_a_truncated_chunk_is_an_error_that_names_it(tmp_path, layout, kept):
    options = {"chunks": (1, 2, 3, 4)} | COMPRESSED[layout]
    write_image(tmp_path / "a.zarr", stack((2, 4, 6, 8)), **options)
    file = chunk_files(tmp_path / "a.zarr" / "0")[-1]
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2 if kept == 0.5 else -1])
    key = file.relative_to(tmp_path / "a.zarr" / "0").as_posix()
    message = error_of(tmp_path / "a.zarr", kind=errors.UnreadableFileError)
    assert f"chunk {key} is " in message
    assert message.endswith("copy it again whole from its source")
    # What lies elsewhere can be read.
    assert open_zarr(tmp_path / "a.zarr").read((slice(0, 2), slice(0, 3), slice(0, 4)), [0]).shape == (2, 3, 4, 1)


def test_a_changed_byte_in_a_chunk_that_was_written_here_is_known(tmp_path):
    write_volume(tmp_path / "a.zarr", Volume(stack((4, 30, 40, 1))))
    file = tmp_path / "a.zarr" / "0" / "c" / "0" / "0" / "0" / "0"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    assert "chunk c/0/0/0/0 is damaged" in error_of(tmp_path / "a.zarr", kind=errors.UnreadableFileError)


# ---- writing


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32", "float32"])
def test_what_is_written_box_by_box_reads_back(tmp_path, dtype, zarr_format):
    array = stack((5, 12, 9, 2)).astype(dtype)
    level = create_zarr(
        tmp_path / "a.zarr", array.shape, dtype, (2, 5, 64), voxel_size_um=(0.5, 0.25, 0.125), zarr_format=zarr_format
    )
    assert (level.shape, level.chunks) == ((2, 5, 12, 9), (1, 2, 5, 9))
    for z in range(0, 5, 2):
        for y in range(0, 12, 5):
            box = (slice(z, min(z + 2, 5)), slice(y, min(y + 5, 12)), slice(0, 9))
            write_box(open_to_write(tmp_path / "a.zarr"), box, array[box])
    read = read_volume(tmp_path / "a.zarr")
    np.testing.assert_array_equal(read.array, array)
    assert (read.array.dtype, read.voxel_size_um) == (np.dtype(dtype), (0.5, 0.25, 0.125))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_names_of_channels_are_read_back_unless_another_program_gave_them(tmp_path, zarr_format):
    path = tmp_path / "a.zarr"
    create_zarr(path, (4, 6, 8, 2), "uint8", channel_names=["nuclei", "golgi"], zarr_format=zarr_format)
    assert read_class_names(path, 2) == ("nuclei", "golgi")
    metadata = path / ("zarr.json" if zarr_format == 3 else ".zattrs")
    metadata.write_text(metadata.read_text().replace("_creator", "_maker"))
    assert read_class_names(path, 2) is None


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("reopened", [False, True])
def test_a_chunk_of_nought_is_stored_and_one_not_written_is_missing(tmp_path, zarr_format, reopened):
    level = create_zarr(tmp_path / "a.zarr", (4, 6, 8, 1), "uint8", (2, 6, 8), zarr_format=zarr_format)
    level = open_to_write(tmp_path / "a.zarr") if reopened else level
    write_box(level, (slice(0, 2), slice(0, 6), slice(0, 8)), np.zeros((2, 6, 8, 1), np.uint8))
    key = "c/0/1/0/0" if zarr_format == 3 else "0/1/0/0"
    assert f"chunk {key} is missing, 1 of 2 are" in error_of(tmp_path / "a.zarr")


def test_processes_write_their_chunks_at_the_same_time(tmp_path):
    array = stack((8, 16, 16, 2))
    np.save(tmp_path / "array.npy", array)
    create_zarr(tmp_path / "a.zarr", array.shape, array.dtype, (2, 8, 16))
    code = (
        "import sys, numpy as np; from tfcyclegan3d.zarrs.writing import open_to_write, write_box\n"
        "array, level = np.load('array.npy'), open_to_write('a.zarr')\n"
        "for z in range(2 * int(sys.argv[1]), 8, 4):\n"
        "    box = (slice(z, z + 2), slice(0, 16), slice(0, 16)); write_box(level, box, array[box])"
    )
    root = str(Path(volumes.__file__).parents[1])
    workers = [
        subprocess.Popen([sys.executable, "-c", code, number], cwd=tmp_path, env={"PYTHONPATH": root})
        for number in "01"
    ]
    assert [worker.wait() for worker in workers] == [0, 0]
    np.testing.assert_array_equal(read_volume(tmp_path / "a.zarr").array, array)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_the_metadata_is_what_the_format_asks_for(tmp_path, zarr_format):
    path = tmp_path / "a.zarr"
    create_zarr(
        path, (4, 600, 300, 2), "uint16", voxel_size_um=(1.0, 0.25, 0.25), name="cells", zarr_format=zarr_format,
        channel_names=["golgi", "nuclei"], colours=[(255, 0, 0), (0, 128, 10)], display_ranges=[(0, 100), (5, 200)],
    )[...] = 0  # fmt: skip
    assert build_pyramid(path, "mean") == 3
    if zarr_format == 3:
        ome = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]
        assert ome["version"] == "0.5"
        assert json.loads((path / "1" / "zarr.json").read_text())["dimension_names"] == [*"czyx"]
    else:
        ome = json.loads((path / ".zattrs").read_text())
        assert ome["multiscales"][0]["version"] == "0.4"
        assert json.loads((path / "1" / ".zarray").read_text())["dimension_separator"] == "/"
    (multiscale,) = ome["multiscales"]
    um = {"type": "space", "unit": "micrometer"}
    assert multiscale["axes"] == [{"name": "c", "type": "channel"}, *({"name": letter, **um} for letter in "zyx")]
    assert (multiscale["name"], multiscale["type"]) == ("cells", "mean")
    assert [
        (one["path"], *(transformation[transformation["type"]] for transformation in one["coordinateTransformations"]))
        for one in multiscale["datasets"]
    ] == [
        ("0", [1, 1, 0.25, 0.25]),
        ("1", [1, 1, 0.5, 0.5], [0, 0, 0.125, 0.125]),
        ("2", [1, 1, 1, 1], [0, 0, 0.375, 0.375]),
    ]
    assert ome["omero"]["channels"] == [
        {"label": "golgi", "color": "FF0000", "active": True, "window": {"min": 0, "max": 100, "start": 0, "end": 100}},
        {
            "label": "nuclei",
            "color": "00800A",
            "active": True,
            "window": {"min": 5, "max": 200, "start": 5, "end": 200},
        },
    ]


def test_an_unknown_voxel_size_is_written_without_a_unit_and_read_as_unknown(tmp_path):
    create_zarr(tmp_path / "a.zarr", (2, 3, 4, 1), "uint8")[...] = 1
    (multiscale,) = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())["attributes"]["ome"]["multiscales"]
    assert "unit" not in str(multiscale)
    assert read_volume(tmp_path / "a.zarr").voxel_size_um is None


def test_what_cannot_be_created_is_an_error(tmp_path):
    create_zarr(tmp_path / "a.zarr", (2, 3, 4, 1), "uint8")
    with pytest.raises(errors.OutputExistsError):
        create_zarr(tmp_path / "a.zarr", (2, 3, 4, 1), "uint8")
    with pytest.raises(errors.ChannelError, match="1 colours were given"):
        create_zarr(tmp_path / "b.zarr", (2, 3, 4, 2), "uint8", colours=[(1, 2, 3)])
    with pytest.raises(ValueError, match="float64"):
        create_zarr(tmp_path / "b.zarr", (2, 3, 4, 2), "float64")
    (tmp_path / "file").touch()
    with pytest.raises(errors.OutputError, match="cannot be written"):
        create_zarr(tmp_path / "file" / "b.zarr", (2, 3, 4, 2), "uint8")
    with pytest.raises(errors.OutputError, match="cannot be written"):
        open_to_write(tmp_path / "nothing.zarr")


@pytest.mark.parametrize(
    ("dtype", "read_as"),
    [("bool", "uint8"), ("uint8", "uint8"), ("int64", "uint16"), ("uint32", "uint16"), ("float64", "float32")],
)
def test_a_volume_is_written_as_zarr_as_it_is_written_as_tiff(tmp_path, dtype, read_as):
    volume = Volume((stack() % 3).astype(dtype), (0.5, 0.25, 0.125))
    for name in ("a.ome.zarr", "a.tif"):
        assert write_volume(tmp_path / name, volume, colours=[(255, 0, 0), (0, 255, 0)]) == tmp_path / name
    one, other = read_volume(tmp_path / "a.ome.zarr"), read_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(one.array, other.array)
    assert one.grid == other.grid == ((5, 7, 9), 2, (0.5, 0.25, 0.125), "a")
    assert one.array.dtype == other.array.dtype == read_as


def test_a_volume_replaces_a_zarr_whole_or_not_at_all(tmp_path, monkeypatch):
    write_volume(tmp_path / "a.zarr", Volume(stack()))
    write_volume(tmp_path / "a.zarr", Volume(stack(seed=1)))

    def full_disk(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfcyclegan3d.zarrs.saving.write_array", full_disk)
    with pytest.raises(errors.OutputError, match=r"a\.zarr: cannot be written \(No space left on device\)"):
        write_volume(tmp_path / "a.zarr", Volume(stack(seed=2)))
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
    np.testing.assert_array_equal(read_volume(tmp_path / "a.zarr").array, stack(seed=1))


# ---- the pyramid


def by_hand(values, steps, method):
    """One voxel at a time."""
    shape = [-(-side // step) for side, step in zip(values.shape, steps, strict=True)]
    made = np.empty(shape, values.dtype)
    for index in np.ndindex(*shape):
        block = values[tuple(slice(i * step, (i + 1) * step) for i, step in zip(index, steps, strict=True))]
        # Of an odd number of voxels the last one counts as often as two.
        weights = np.ones(block.shape)
        for axis, step in enumerate(steps):
            weights *= step / block.shape[axis]
        mean = (block * weights).sum() / weights.sum()
        mean = mean if values.dtype.kind == "f" else math.floor(mean + 0.5)
        made[index] = {"mean": mean, "maximum": block.max(), "nearest": block.flat[0]}[method]
    return made


@pytest.mark.parametrize("method", ["mean", "maximum", "nearest"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32", "float32"])
@pytest.mark.parametrize("steps", [(2, 2, 2), (1, 2, 2), (2, 1, 2), (1, 1, 1)])
def test_a_coarser_level_is_that_computed_by_hand(method, dtype, steps):
    draw = np.random.default_rng(0)
    low, high = (-1000, 1000) if dtype == "float32" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    values = draw.uniform(low, high, (5, 6, 7)).astype(dtype)
    np.testing.assert_allclose(reduced(values, steps, method), by_hand(values, steps, method), rtol=1e-5, atol=1e-3)
    assert reduced(values, steps, method).dtype == dtype


@pytest.mark.parametrize("method", ["mean", "maximum", "nearest"])
def test_every_level_is_made_of_the_one_below_in_blocks(tmp_path, monkeypatch, method):
    monkeypatch.setattr(pyramid, "SMALLEST_SIDE", 5)
    monkeypatch.setattr("tfcyclegan3d.tiling.SLAB_VALUES", 100)
    array = stack((5, 21, 17, 2))
    level = create_zarr(tmp_path / "a.zarr", array.shape, array.dtype, (2, 3, 4), voxel_size_um=(0.4, 0.2, 0.2))
    level[...] = array.transpose(3, 0, 1, 2)
    for _ in range(2):
        assert build_pyramid(tmp_path / "a.zarr", method) == 4
        finer = array
        for number, steps in enumerate([(1, 2, 2), (2, 2, 2), (2, 2, 2)], start=1):
            finer = np.stack([by_hand(finer[..., channel], steps, method) for channel in range(2)], axis=-1)
            read = read_volume(tmp_path / "a.zarr" / str(number)).array
            np.testing.assert_array_equal(read, finer)


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint32])
def test_numbers_of_objects_are_never_averaged(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(pyramid, "SMALLEST_SIDE", 5)
    numbers = np.random.default_rng(0).choice(np.array([1, 7, 300], kind), (4, 20, 20, 1))
    write_volume(tmp_path / "labels.zarr", Volume(numbers))
    assert read_volume(tmp_path / "labels.zarr").array.dtype == np.uint16
    assert set(np.unique(read_volume(tmp_path / "labels.zarr" / "1").array)) <= {1, 7, 300}


def test_a_pyramid_that_was_interrupted_is_made_good(tmp_path, monkeypatch):
    array = stack((4, 600, 20, 1))
    create_zarr(tmp_path / "a.zarr", array.shape, array.dtype)[...] = array.transpose(3, 0, 1, 2)
    fill = pyramid._fill

    def interrupted(coarser, *arguments):
        fill(coarser, *arguments)
        if coarser.shape[2] == 150:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pyramid, "_fill", interrupted)
        build_pyramid(tmp_path / "a.zarr", "mean")
    assert len(open_levels(tmp_path / "a.zarr")) == 1
    build_pyramid(tmp_path / "a.zarr", "mean")
    assert open_levels(tmp_path / "a.zarr") == ["0", "1", "2"]
    assert read_volume(tmp_path / "a.zarr" / "2").shape == (1, 150, 5)


def open_levels(path):
    ome = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]
    return [one["path"] for one in ome["multiscales"][0]["datasets"]]


@pytest.mark.parametrize(
    ("shape", "voxel_size", "expected"),
    [
        ((64, 256, 256), (1, 1, 1), []),
        ((64, 257, 100), (1, 1, 1), [(2, 2, 2)]),
        # Voxels of (3, 1, 1), then of (3, 2, 2), which are near enough to cubes, then of (6, 4, 4).
        ((64, 2000, 1000), (3, 1, 1), [(1, 2, 2), (2, 4, 4), (4, 8, 8)]),
        ((64, 2000, 1000), (0.3, 0.1, 0.1), [(1, 2, 2), (2, 4, 4), (4, 8, 8)]),
        ((1, 600, 1), (1, 1, 1), [(1, 2, 1), (1, 4, 1)]),
        ((600, 1, 1), (9, 1, 1), [(2, 1, 1), (4, 1, 1)]),
    ],
)
def test_levels_halve_y_and_x_and_z_once_its_voxels_are_no_longer_the_longer_ones(shape, voxel_size, expected):
    assert plan_levels(shape, voxel_size) == expected


def test_a_mask_stays_one_and_instance_numbers_stay_their_own_at_every_level(tmp_path):
    mask = stack((4, 300, 30, 1)) % 5 == 0
    write_volume(tmp_path / "mask.zarr", Volume(mask))
    assert set(np.unique(read_volume(tmp_path / "mask.zarr" / "1").array)) == {0, 255}
    labels = stack((4, 300, 30, 1), np.uint32) + np.uint32(70_000)
    write_volume(tmp_path / "labels.zarr", Volume(labels))
    np.testing.assert_array_equal(read_volume(tmp_path / "labels.zarr" / "1").array, labels[::2, ::2, ::2])


# ---- finding, hashing, commands


@pytest.fixture
def folder(tmp_path):
    write_image(tmp_path / "cell2.zarr", stack((1, 3, 4, 5)))
    write_array(tmp_path / "Cell1.ome.zarr", stack((3, 4, 5)), 2)
    write_array(tmp_path / "cell10", stack((3, 4, 5)), 2)
    write_image(tmp_path / ".hidden.zarr", stack((1, 3, 4, 5)))
    write_volume(tmp_path / "cell3.tif", Volume(stack((3, 4, 5, 1))))
    (tmp_path / "sub").mkdir()
    write_image(tmp_path / "sub" / "deep.zarr", stack((1, 3, 4, 5)))
    return tmp_path


def names(paths):
    return [path.name for path in paths]


def test_zarr_folders_are_stacks_among_others_in_name_order(folder):
    assert names(find_stacks(folder)) == ["Cell1.ome.zarr", "cell2.zarr", "cell3.tif", "cell10"]
    assert names(find_stacks(f"{folder}/cell*")) == ["cell2.zarr", "cell3.tif", "cell10"]
    assert names(find_stacks(folder / "cell10")) == ["cell10"]
    assert names(find_images([folder / "cell2.zarr", folder])) == [
        "cell2.zarr",
        "Cell1.ome.zarr",
        "cell3.tif",
        "cell10",
    ]


def test_a_glob_leads_to_no_level_within_a_zarr_that_it_finds(folder):
    found = ["Cell1.ome.zarr", "cell2.zarr", "cell3.tif", "cell10", "deep.zarr"]
    assert names(find_stacks(f"{folder}/**")) == names(find_stacks(f"{folder}/**/*")) == found
    assert names(find_stacks(f"{folder}/cell2.zarr/*")) == ["0"]


@pytest.mark.parametrize(
    ("path", "name"),
    [("a.zarr", "a"), ("a.OME.ZARR", "a"), ("b/cell 1.2.zarr", "cell 1.2"), ("p.ome.zarr/A/1/0", "p_A_1_0")],
)
def test_a_stack_is_called_as_its_folder_without_the_ending(path, name):
    assert volumes.stack_name(Path(path)) == name


def test_the_fingerprint_of_a_folder_is_that_of_its_names_and_contents(folder):
    from tfcyclegan3d.training.run_folder import fingerprint

    path = folder / "cell2.zarr"
    before = fingerprint(path)
    assert before == fingerprint(path)
    file = chunk_files(path / "0")[0]
    content = file.read_bytes()
    file.write_bytes(content + b"x")
    assert fingerprint(path) != before
    file.write_bytes(content)
    assert fingerprint(path) == before
    file.rename(file.with_name("9"))
    assert fingerprint(path) != before


def test_info_shows_a_zarr(tmp_path, capsys):
    path = tmp_path / "a.zarr"
    write_image(path, stack((2, 4, 5, 6)), "czyx", [1, 0.5, 0.2, 0.2], [None, *["micrometer"] * 3])
    assert main(["info", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        str(path),
        "  stored      CZYX 2 x 4 x 5 x 6",
        "  read as     ZYX 4 x 5 x 6, 2 channels",
        "  type        uint16",
        "  voxel size  0.5 x 0.2 x 0.2 um (z, y, x)",
    ]
    chunk_files(path / "0")[0].unlink()
    assert main(["info", str(path)]) == 2
    assert "add --missing-chunks fill" in capsys.readouterr().err
    assert main(["info", str(path), "--missing-chunks", "fill"]) == 0


def test_a_zarr_is_scored_against_another(tmp_path, capsys):
    truth = np.zeros((4, 6, 8, 1), bool)
    truth[1:3, 2:4] = True
    prediction = truth.copy()
    prediction[0] = truth[1]
    write_volume(tmp_path / "truth.zarr", Volume(truth))
    write_array(tmp_path / "prediction.zarr", prediction[..., 0].astype(np.uint8))
    write_volume(tmp_path / "truth.tif", Volume(truth))
    scores = []
    for name in ("truth.zarr", "truth.tif"):
        paths = ["--truth", tmp_path / name, "--prediction", tmp_path / "prediction.zarr"]
        assert main(["evaluate", *map(str, paths), "--json", str(tmp_path / f"{name}.json")]) == 0
        scores.append(json.loads((tmp_path / f"{name}.json").read_text())["classes"])
    assert scores[0] == scores[1]
    assert scores[0]["nuclei"] == pytest.approx({"dice": 0.8, "precision": 2 / 3, "recall": 1.0})
    chunk_files(tmp_path / "prediction.zarr")[0].unlink()
    paths = ["evaluate", "--truth", str(tmp_path / "truth.tif"), "--prediction", str(tmp_path / "prediction.zarr")]
    assert main(paths) == 2
    assert main([*paths, "--missing-chunks", "fill"]) == 0


def test_importing_the_package_leaves_zarr_alone():
    code = "import sys, tfcyclegan3d.sources; sys.exit('zarr' in sys.modules or 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(volumes.__file__).parents[1]).returncode == 0
