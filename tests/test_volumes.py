"""Stacks are read as ZYXC whatever kind of TIFF holds them, and written so that they read back."""

import logging
import math
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfcyclegan3d import errors, volumes
from tfcyclegan3d.describing import describe
from tfcyclegan3d.finding_stacks import find_masks
from tfcyclegan3d.scratch import ScratchFile
from tfcyclegan3d.stored_stacks import read_class_names
from tfcyclegan3d.volumes import (
    Volume,
    check_image,
    find_images,
    find_stacks,
    read_grid,
    read_volume,
    write_volume,
)

FROM_ZYXC = {"Z": 0, "Y": 1, "X": 2, "C": 3}
few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def stack(shape=(5, 7, 9, 2), dtype=np.uint16, seed=0):
    """A stack without two equal values next to each other, so that a swapped axis cannot go unseen."""
    return np.random.default_rng(seed).permutation(math.prod(shape)).reshape(shape).astype(dtype)


def stored_as(array, axes):
    return array.transpose([FROM_ZYXC[letter] for letter in axes])


def write_pages_with_headers_at_the_end(path, array):
    """A TIFF as some microscopes write it: all pixels, then all page headers."""
    (n_pages, height, width), data = array.shape, array.tobytes()
    out = b"II*\0" + struct.pack("<I", 8 + len(data)) + data
    for page in range(n_pages):
        start, size = 8 + page * height * width, height * width
        tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1)]
        tags += [(273, start), (277, 1), (278, height), (279, size)]
        after = len(out) + 2 + 12 * len(tags) + 4 if page < n_pages - 1 else 0
        out += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        out += struct.pack("<I", after)
    path.write_bytes(out)


# ---- the Volume


def test_a_volume_of_three_dimensions_gets_one_channel():
    volume = Volume(np.zeros((2, 3, 4)))
    assert volume.array.shape == (2, 3, 4, 1)
    assert (volume.shape, volume.n_channels) == ((2, 3, 4), 1)


@pytest.mark.parametrize("shape", [(), (3,), (3, 4), (1, 2, 3, 4, 5)])
def test_a_volume_of_other_dimensions_is_refused_with_its_shape(shape):
    with pytest.raises(errors.UserError, match=r"array of shape \("):
        Volume(np.zeros(shape))


@pytest.mark.parametrize("size", [(1, 1), (0, 1, 1), (1, -1, 1), (1, float("nan"), 1), (1, 1, float("inf"))])
def test_a_voxel_size_that_cannot_be_is_refused(size):
    with pytest.raises(errors.UserError, match="voxel size"):
        Volume(np.zeros((2, 2, 2)), size)


def test_comparing_a_volume_with_a_threshold_gives_a_mask_on_the_same_grid():
    mask = Volume(np.arange(8.0).reshape(2, 2, 2), (1, 2, 3), "cells") > 5
    assert mask.array.dtype == bool
    assert mask.array[..., 0].ravel().tolist() == [False] * 6 + [True] * 2
    assert (mask.voxel_size_um, mask.name) == ((1.0, 2.0, 3.0), "cells")


def test_channels_are_selected_in_the_order_asked_for():
    array = stack(shape=(2, 3, 4, 3))
    selected = Volume(array, (1, 1, 1), "a").select_channels([2, 0])
    np.testing.assert_array_equal(selected.array, array[..., [2, 0]])
    assert (selected.voxel_size_um, selected.name) == ((1, 1, 1), "a")


@pytest.mark.parametrize("indices", [[2], [0, -1], []])
def test_a_channel_that_is_not_there_is_an_error_with_the_number_there_is(indices):
    with pytest.raises(errors.ChannelError, match="a: has 2 channels"):
        Volume(stack(), name="a").select_channels(indices)


# ---- axes


@few
@given(
    axes=st.permutations("ZYXC").map("".join),
    lengths=st.tuples(*[st.integers(1, 6)] * 4),
    rgb=st.booleans(),
    case=st.sampled_from([str.upper, str.lower]),
)
def test_a_stack_saved_in_any_axis_order_reads_the_same(tmp_path, axes, lengths, rgb, case):
    array = stack(lengths)
    stored = stored_as(array, axes)
    photometric = "rgb" if rgb and stored.shape[-1] in (3, 4) else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=photometric)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif", axes=case(axes)).array, array)


@few
@given(axes=st.permutations("ZYX").map("".join), lengths=st.tuples(*[st.integers(1, 6)] * 3))
def test_a_stack_of_one_channel_saved_in_any_axis_order_reads_the_same(tmp_path, axes, lengths):
    array = stack((*lengths, 1))
    tifffile.imwrite(tmp_path / "a.tif", stored_as(array[..., 0], axes), photometric="minisblack")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif", axes=axes).array, array)


@few
@given(axes=st.sampled_from(["ZCYX", "CZYX"]), n_z=st.integers(2, 5), n_c=st.integers(1, 3))
def test_an_ome_tiff_says_its_axes_itself(tmp_path, axes, n_z, n_c):
    array = stack((n_z, 5, 6, n_c))
    tifffile.imwrite(tmp_path / "a.ome.tif", stored_as(array, axes), metadata={"axes": axes}, photometric="minisblack")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.ome.tif").array, array)


def test_an_imagej_hyperstack_says_its_axes_itself(tmp_path):
    array = stack()
    tifffile.imwrite(tmp_path / "a.tif", stored_as(array, "ZCYX"), imagej=True, metadata={"axes": "ZCYX"})
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array, array)


def test_an_imagej_rgb_stack_has_its_colours_as_channels(tmp_path):
    array = stack((4, 5, 6, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", array, imagej=True, photometric="rgb", metadata={"axes": "ZYXS"})
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array, array)


@pytest.mark.parametrize("options", [{}, {"metadata": None}, {"metadata": {"axes": "ZYX"}}, {"bigtiff": True}])
def test_three_dimensions_without_names_are_zyx(tmp_path, options):
    array = stack((5, 7, 9))
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", **options)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array[..., 0], array)


def test_four_dimensions_without_names_are_an_error_naming_axes_and_shape(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", stored_as(stack(), "ZCYX"), photometric="minisblack")
    with pytest.raises(errors.AxesError, match=r"found axes QQYX of shape \(5, 2, 7, 9\).*--axes ZCYX"):
        read_volume(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "options", [{"photometric": "rgb"}, {"photometric": "rgb", "metadata": None}, {"photometric": "minisblack"}, {}]
)
def test_the_published_stacks_are_read_with_axes_yxzc(tmp_path, options):
    array = stack((6, 20, 22, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stored_as(array, "YXZC"), **options)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif", axes="YXZC").array, array)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif", axes="yxzs", channels=[0, 1]).array, array[..., :2])
    with pytest.raises(errors.AxesError, match="--axes"):
        read_volume(tmp_path / "a.tif")


def test_the_users_axes_win_over_the_files(tmp_path):
    array = stack((5, 7, 9))
    tifffile.imwrite(tmp_path / "a.tif", array, imagej=True, metadata={"axes": "TYX"})
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif", axes="ZYX").array[..., 0], array)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif", axes="XYZ").array[..., 0], array.transpose(2, 1, 0))


def test_letters_and_dimensions_of_length_one_need_not_match(tmp_path):
    array = stack((5, 7, 9))
    tifffile.imwrite(tmp_path / "five.tif", array[np.newaxis, :, np.newaxis], photometric="minisblack")
    tifffile.imwrite(tmp_path / "hyperstack.tif", array, imagej=True, metadata={"axes": "ZYX"})
    for name, axes in [
        ("hyperstack.tif", "TZCYX"),
        ("hyperstack.tif", "ZCYX"),
        ("five.tif", "TZCYX"),
        ("five.tif", "ZYX"),
    ]:
        np.testing.assert_array_equal(read_volume(tmp_path / name, axes=axes).array[..., 0], array)


@pytest.mark.parametrize("axes", ["ZCYX", "CZYX", "TZYX", "TZCYX"])
def test_a_letter_more_than_a_plain_file_has_dimensions_is_an_error(tmp_path, axes):
    tifffile.imwrite(tmp_path / "a.tif", stack((5, 7, 9)), photometric="minisblack")
    with pytest.raises(errors.AxesError, match=f"--axes {axes} was received; give 3 letters"):
        read_volume(tmp_path / "a.tif", axes=axes)


@pytest.mark.parametrize("axes", ["", "ZY", "ZZYX", "ZYXQ", "CYX", "ZYX", "ZCSYX", "TZCYXA"])
def test_axes_that_do_not_fit_are_an_error_naming_what_was_received(tmp_path, axes):
    tifffile.imwrite(tmp_path / "a.tif", stored_as(stack(), "ZCYX"), photometric="minisblack")
    with pytest.raises(errors.AxesError, match=f"--axes {axes}"):
        read_volume(tmp_path / "a.tif", axes=axes)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((20, 22), {}),
        ((20, 22, 3), {"photometric": "rgb"}),
        ((3, 20, 22), {"photometric": "rgb", "planarconfig": "separate"}),
        ((1, 20, 22), {"photometric": "minisblack"}),
        ((1, 2, 20, 22), {"imagej": True, "metadata": {"axes": "ZCYX"}}),
        ((2, 1, 20, 22), {"ome": True, "metadata": {"axes": "CZYX"}, "photometric": "minisblack"}),
    ],
)
def test_a_flat_image_is_an_error_that_says_so(tmp_path, shape, options):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint8), **options)
    with pytest.raises(errors.AxesError, match="a 2D image; this package needs a stack"):
        read_volume(tmp_path / "a.tif")


def test_a_flat_image_stays_an_error_with_axes_given(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 22), np.uint8))
    with pytest.raises(errors.AxesError, match="a 2D image"):
        read_volume(tmp_path / "a.tif", axes="ZYX")


@pytest.mark.parametrize("axes", [None, "TZYX"])
def test_several_timepoints_are_an_error_with_their_number(tmp_path, axes):
    tifffile.imwrite(tmp_path / "a.tif", stack((3, 5, 7, 9)), imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(errors.AxesError, match="3 timepoints"):
        read_volume(tmp_path / "a.tif", axes=axes)


def test_several_images_in_one_file_are_an_error(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for n_slices in (5, 3):
            writer.write(stack((n_slices, 7, 9)), photometric="minisblack")
    with pytest.raises(errors.VolumeContentError, match="holds 2 images"):
        read_volume(tmp_path / "a.tif")


# ---- types and contents


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64", ">u2"]
)
def test_values_are_read_as_stored(tmp_path, dtype):
    array = stack((3, 4, 5)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", byteorder=">" if dtype == ">u2" else None)
    read = read_volume(tmp_path / "a.tif").array
    np.testing.assert_array_equal(read[..., 0], array)
    assert read.dtype == np.dtype(dtype).newbyteorder("=")
    assert read.dtype.isnative


@pytest.mark.parametrize("compression", ["lzw", "zlib", "zstd", "packbits"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_compressed_stacks_are_read_exactly(tmp_path, compression, tile):
    array = stack((3, 20, 22))
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", compression=compression, tile=tile)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array[..., 0], array)


def test_a_jpeg_stack_is_read_nearly_exactly(tmp_path):
    array = np.broadcast_to(np.arange(64, dtype=np.uint8), (3, 64, 64))
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", compression="jpeg")
    np.testing.assert_allclose(read_volume(tmp_path / "a.tif").array[..., 0].astype(int), array, atol=4)


def test_complex_values_are_an_error(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((3, 4, 5), np.complex64), photometric="minisblack")
    with pytest.raises(errors.VolumeContentError, match="complex64"):
        read_volume(tmp_path / "a.tif")


def test_nan_and_infinite_values_are_counted(tmp_path):
    array = stack((3, 4, 5)).astype(np.float32)
    array[0, 0, :2], array[1, 1, 1] = np.nan, np.inf
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack")
    with pytest.raises(errors.VolumeContentError, match="holds 3 voxels of NaN or infinite value; replace"):
        read_volume(tmp_path / "a.tif")
    with pytest.raises(errors.VolumeContentError, match="3 voxels"):
        check_image(Volume(array))


def test_a_constant_stack_can_be_read_but_is_no_image(tmp_path):
    array = stack()
    array[..., 1] = 7
    write_volume(tmp_path / "a.tif", Volume(array))
    volume = read_volume(tmp_path / "a.tif")
    with pytest.raises(errors.VolumeContentError, match=r"a: channel 1 is constant \(value 7\)"):
        check_image(volume)
    check_image(volume.select_channels([0]))


def test_channels_are_chosen_while_reading(tmp_path):
    write_volume(tmp_path / "a.tif", Volume(stack()))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif", channels=[1]).array, stack()[..., 1:])
    with pytest.raises(errors.ChannelError, match="has 2 channels"):
        read_volume(tmp_path / "a.tif", channels=[0, 2])


@pytest.mark.parametrize(("file", "name"), [("a.tif", "a"), ("a.b.OME.TIF", "a.b"), ("cell.1.tiff", "cell.1")])
def test_a_volume_is_called_what_its_file_is_called(tmp_path, file, name):
    tifffile.imwrite(tmp_path / file, stack((3, 4, 5)), photometric="minisblack", ome=False)
    assert read_volume(tmp_path / file).name == name


# ---- files that cannot be read


@pytest.mark.parametrize(
    ("name", "begin", "kind"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n", "a PNG image"),
        ("a.tif", b"\x89PNG\r\n\x1a\n", "a PNG image"),
        ("a.czi", b"ZISRAWFILE", "a Zeiss CZI file"),
        ("a.dat", b"some other format", "no TIFF file"),
    ],
)
def test_a_file_of_another_format_is_to_be_converted_to_tiff(tmp_path, name, begin, kind):
    (tmp_path / name).write_bytes(begin + bytes(100))
    with pytest.raises(errors.UnreadableFileError, match=rf"{name}: .*it is {kind}\); convert it to TIFF, .*Fiji"):
        read_volume(tmp_path / name)


def test_a_missing_file_is_an_error_with_its_path(tmp_path):
    with pytest.raises(errors.FileMissingError, match=r"nothing\.tif: no such file"):
        read_volume(tmp_path / "nothing.tif")


@pytest.mark.parametrize(
    "content", [b"", b"II*\0", b"II*\0\xff\xff\xff\x7f", b"not a TIFF at all", b"\x89PNG\r\n\x1a\n" * 9]
)
def test_a_file_that_is_no_tiff_is_unreadable(tmp_path, content):
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(errors.UnreadableFileError, match="cannot be read as a TIFF stack"):
        read_volume(tmp_path / "a.tif")


def test_a_folder_is_not_read_as_a_file(tmp_path):
    with pytest.raises(errors.UnreadableFileError, match="it is a folder"):
        read_volume(tmp_path)


WAYS = {
    "plain": {}, "without metadata": {"metadata": None}, "BigTIFF": {"bigtiff": True}, "zlib": {"compression": "zlib"},
    "LZW": {"compression": "lzw"}, "JPEG": {"compression": "jpeg"}, "tiles": {"tile": (16, 16), "compression": "zlib"},
    "one header": {"metadata": {"truncate": True}}, "volumetric": {"volumetric": True, "tile": (4, 32, 32)},
    "ImageJ": {"imagej": True, "metadata": {"axes": "ZYX"}}, "OME": {"ome": True, "metadata": {"axes": "ZYX"}},
    "ImageJ zlib": {"imagej": True, "metadata": {"axes": "ZYX"}, "compression": "zlib"},
    "OME zlib": {"ome": True, "metadata": {"axes": "ZYX"}, "compression": "zlib"},
    "headers at the end": None, "our own": None,
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_truncated_stack_is_unreadable_and_never_partly_zero(tmp_path, way, caplog, capfd):
    array = np.random.default_rng(0).integers(1, 255, (8, 32, 32)).astype(np.uint8)
    whole, cut = tmp_path / "whole.tif", tmp_path / "cut.tif"
    if way == "headers at the end":
        write_pages_with_headers_at_the_end(whole, array)
    elif way == "our own":
        write_volume(whole, Volume(array))
    else:
        tifffile.imwrite(whole, array, photometric="minisblack", **WAYS[way])
    content = whole.read_bytes()
    read = read_volume(whole).array[..., 0]
    if way != "JPEG":
        np.testing.assert_array_equal(read, array)
    with caplog.at_level(logging.DEBUG):
        for percent in (1, 30, 60, 90):
            cut.write_bytes(content[: len(content) * percent // 100])
            with pytest.raises(errors.UnreadableFileError, match="cannot be read"):
                read_volume(cut)
    assert not [record for record in caplog.records if record.name.startswith("tifffile")]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("way", ["OME", "OME zlib", "ImageJ", "our own"])
def test_a_stack_cut_within_its_last_bytes_is_unreadable_or_whole(tmp_path, way):
    array = stack((4, 16, 16, 2), np.uint8)
    if way == "our own":
        write_volume(tmp_path / "a.tif", Volume(array))
    else:
        options = WAYS[way] | {"metadata": {"axes": "ZCYX"}}
        tifffile.imwrite(tmp_path / "a.tif", stored_as(array, "ZCYX"), photometric="minisblack", **options)
    content = (tmp_path / "a.tif").read_bytes()
    for n_missing in range(1, 900, 31):
        (tmp_path / "a.tif").write_bytes(content[:-n_missing])
        try:
            read = read_volume(tmp_path / "a.tif").array
        except errors.UnreadableFileError:
            continue
        np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("on_disk", [False, True])
def test_damaged_compressed_data_is_unreadable_and_its_page_named(tmp_path, monkeypatch, on_disk):
    monkeypatch.setattr("tfcyclegan3d.tiff.reading.MOST_IN_MEMORY", 0)
    tifffile.imwrite(tmp_path / "a.tif", stack((3, 32, 32)), photometric="minisblack", compression="zlib")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        start = tif.pages[1].dataoffsets[0]
    content[start : start + 64] = b"\xff" * 64
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(errors.UnreadableFileError, match="page 2 of 3 is damaged: "):
        read_volume(tmp_path / "a.tif", scratch=ScratchFile(tmp_path) if on_disk else None)


def test_page_headers_in_a_circle_end_in_an_error(tmp_path):
    write_pages_with_headers_at_the_end(tmp_path / "a.tif", stack((3, 5, 7), np.uint8))
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[-4:] = content[4:8]
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(errors.UnreadableFileError, match="circle"):
        read_volume(tmp_path / "a.tif")


# ---- voxel sizes


@pytest.mark.parametrize(
    ("unit", "micrometres"),
    [
        ("um", 1),
        ("µm", 1),
        ("\\u00B5m", 1),
        ("micron", 1),
        ("nm", 1e-3),
        ("mm", 1e3),
        ("cm", 1e4),
        ("inch", 25400),
    ],
)
def test_imagejs_units_become_micrometres(tmp_path, unit, micrometres):
    # Written as plain TIFF with ImageJ's description, since tifffile itself would turn a micro sign into \u00B5.
    text = f"ImageJ=1.53f\nimages=5\nslices=5\nunit={unit}\nspacing=0.5\n".encode("latin-1")
    tifffile.imwrite(
        tmp_path / "a.tif",
        stack((5, 7, 9)),
        photometric="minisblack",
        metadata=None,
        description=text,
        resolution=(10, 4),
        resolutionunit="NONE",
    )
    size = read_volume(tmp_path / "a.tif").voxel_size_um
    assert size == pytest.approx((0.5 * micrometres, 0.25 * micrometres, 0.1 * micrometres), rel=1e-6)


@pytest.mark.parametrize(
    "metadata",
    [
        {"spacing": 0.5},
        {"spacing": 0.5, "unit": "pixel"},
        {"spacing": 0.5, "unit": "furlong"},
        {"unit": "um"},
        {"spacing": 0, "unit": "um"},
    ],
)
def test_an_imagej_stack_without_spacing_or_known_unit_has_no_voxel_size(tmp_path, metadata):
    metadata = {"axes": "ZYX"} | metadata
    tifffile.imwrite(tmp_path / "a.tif", stack((5, 7, 9)), imagej=True, resolution=(5, 5), metadata=metadata)
    assert read_volume(tmp_path / "a.tif").voxel_size_um is None


@pytest.mark.parametrize(("unit", "micrometres"), [(None, 1), ("µm", 1), ("nm", 1e-3), ("mm", 1e3), ("Å", 1e-4)])
def test_omes_physical_sizes_become_micrometres(tmp_path, unit, micrometres):
    metadata = {"axes": "ZYX", "PhysicalSizeZ": 3.0, "PhysicalSizeY": 2.0, "PhysicalSizeX": 1.5}
    if unit:
        metadata |= {f"PhysicalSize{axis}Unit": unit for axis in "ZYX"}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack((5, 7, 9)), photometric="minisblack", metadata=metadata)
    size = read_volume(tmp_path / "a.ome.tif").voxel_size_um
    assert size == pytest.approx((3 * micrometres, 2 * micrometres, 1.5 * micrometres))


def test_omes_pixel_unit_or_missing_z_is_no_voxel_size(tmp_path):
    sizes = {"axes": "ZYX", "PhysicalSizeY": 2.0, "PhysicalSizeX": 1.5}
    for extra in ({}, {"PhysicalSizeZ": 1.0, "PhysicalSizeZUnit": "pixel"}):
        tifffile.imwrite(tmp_path / "a.ome.tif", stack((5, 7, 9)), photometric="minisblack", metadata=sizes | extra)
        assert read_volume(tmp_path / "a.ome.tif").voxel_size_um is None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"resolution": (72, 72), "resolutionunit": "INCH"},
        {"resolution": (1e5, 1e5), "resolutionunit": "CENTIMETER"},
    ],
)
def test_a_plain_tiffs_resolution_is_no_voxel_size(tmp_path, options):
    tifffile.imwrite(tmp_path / "a.tif", stack((5, 7, 9)), photometric="minisblack", **options)
    assert read_volume(tmp_path / "a.tif").voxel_size_um is None


def test_axes_that_move_y_and_x_leave_no_voxel_size(tmp_path):
    write_volume(tmp_path / "a.tif", Volume(stack((5, 7, 9)), (3, 2, 1)))
    assert read_volume(tmp_path / "a.tif", axes="ZCYX").voxel_size_um == (3, 2, 1)
    assert read_volume(tmp_path / "a.tif", axes="YCXZ").voxel_size_um is None


# ---- writing


@few
@given(
    # Older versions of tifffile take an X of length 1 for colour samples.
    shape=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(2, 6), st.integers(1, 4)),
    dtype=st.sampled_from(["uint8", "uint16", "float32", "uint32"]),
    size=st.none() | st.tuples(*[st.floats(0.01, 20).map(lambda value: float(f"{value:.5g}"))] * 3),
)
def test_a_volume_reads_back_as_written(tmp_path, shape, dtype, size):
    volume = Volume(stack(shape, dtype) + np.array(70_000 if dtype == "uint32" else 0, dtype), size, "a")
    assert write_volume(tmp_path / "a.tif", volume) == tmp_path / "a.tif"
    read = read_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(read.array, volume.array)
    assert (read.array.dtype, read.voxel_size_um, read.name) == (np.dtype(dtype), size, "a")


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize(
    ("dtype", "highest", "read_as"),
    [
        ("int64", 200, "uint16"),
        ("int32", 65535, "uint16"),
        ("int32", 65536, "uint32"),
        ("uint32", 2**32 - 1, "uint32"),
        ("int16", -5, "int32"),
        ("int64", -(2**31), "int32"),
    ],
)
def test_labels_keep_their_numbers_however_large(tmp_path, dtype, highest, read_as, n_channels):
    array = stack((3, 4, 5, n_channels), dtype)
    array[0, 0, 0, 0] = highest
    write_volume(tmp_path / "a.tif", Volume(array, (0.3, 0.127, 0.1)))
    read = read_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(read.array, array)
    assert (read.array.dtype, read.voxel_size_um) == (np.dtype(read_as), (0.3, 0.127, 0.1))


def test_integers_beyond_32_bits_and_complex_values_cannot_be_written(tmp_path):
    for array in (np.full((2, 2, 2), 2**40), np.ones((2, 2, 2), complex)):
        with pytest.raises(errors.VolumeContentError, match="cannot be stored"):
            write_volume(tmp_path / "a.tif", Volume(array))
    assert list(tmp_path.iterdir()) == []


def test_a_mask_is_written_as_0_and_255_and_other_floats_as_float32(tmp_path):
    mask = Volume(stack() > 100)
    read = read_volume(write_volume(tmp_path / "mask.tif", mask)).array
    np.testing.assert_array_equal(read, mask.array.astype(np.uint8) * 255)
    assert read.dtype == np.uint8
    assert read_volume(write_volume(tmp_path / "p.tif", Volume(np.full((2, 3, 4), 0.1)))).array.dtype == np.float32


def test_a_written_volume_is_a_compressed_imagej_composite_in_its_colours(tmp_path):
    volume = Volume(np.zeros((8, 64, 64, 2), bool), (0.4, 0.2, 0.2))
    write_volume(tmp_path / "a.tif", volume, colours=[(255, 0, 0), (0, 128, 0)])
    assert (tmp_path / "a.tif").stat().st_size < volume.array.nbytes
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.series[0].axes == "ZCYX"
        metadata = tif.imagej_metadata
        assert (metadata["mode"], metadata["unit"], metadata["spacing"]) == ("composite", "um", 0.4)
        assert metadata["LUTs"][0][:, 255].tolist() == [255, 0, 0]
        assert metadata["LUTs"][1][:, 255].tolist() == [0, 128, 0]
        assert metadata["Ranges"] == (0, 255, 0, 255)


def test_fiji_is_told_to_show_a_16_bit_composite_over_its_own_range(tmp_path):
    write_volume(tmp_path / "a.tif", Volume(stack()), colours=[(255, 0, 0), (0, 255, 0)])
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.imagej_metadata["Ranges"] == (0, stack()[..., 0].max(), 0, stack()[..., 1].max())


def test_as_many_colours_as_channels_are_needed(tmp_path):
    with pytest.raises(errors.ChannelError, match="1 colours were given"):
        write_volume(tmp_path / "a.tif", Volume(stack()), colours=[(255, 0, 0)])


def test_a_stack_too_large_for_imagej_becomes_ome_bigtiff(tmp_path, monkeypatch):
    monkeypatch.setattr("tfcyclegan3d.tiff.writing.HYPERSTACK_BYTES", 100)
    volume = Volume(stack(), (3, 2, 1))
    read = read_volume(write_volume(tmp_path / "a.tif", volume))
    np.testing.assert_array_equal(read.array, volume.array)
    assert read.voxel_size_um == (3, 2, 1)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.is_bigtiff
        assert tif.is_ome


@pytest.mark.parametrize("file", ["a.tif", "a.zarr"])
@pytest.mark.parametrize("dtype", ["uint8", "uint32"])
@pytest.mark.parametrize("names", [("nuclei", "golgi"), ("Zellkörper 2",)])
@pytest.mark.parametrize("depth", [1, 3])
def test_names_of_classes_are_kept_beside_the_channels(tmp_path, file, dtype, names, depth):
    volume = Volume(stack((depth, 5, 6, len(names)), dtype) + np.array(70_000 if dtype == "uint32" else 0, dtype))
    path = write_volume(tmp_path / file, volume, class_names=names)
    assert read_class_names(path, len(names)) == names
    assert read_class_names(path, 3) is None
    np.testing.assert_array_equal(read_volume(path).array, volume.array)


@pytest.mark.parametrize("file", ["a.tif", "a.zarr"])
@pytest.mark.parametrize("names", [None, ("nuclei", "nuclei"), ("nuclei", ""), ("nuclei", "c:1/2")])
def test_what_no_classes_can_be_called_is_not_taken_for_their_names(tmp_path, file, names):
    assert read_class_names(write_volume(tmp_path / file, Volume(stack()), class_names=names), 2) is None


def test_names_that_another_program_gave_to_channels_are_no_classes(tmp_path):
    labels = {"axes": "ZCYX", "Labels": ["DAPI", "GFP"] * 5}
    tifffile.imwrite(tmp_path / "a.tif", stored_as(stack(), "ZCYX"), imagej=True, metadata=labels)
    channels = {"axes": "ZCYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(tmp_path / "b.tif", stored_as(stack(), "ZCYX"), ome=True, metadata=channels)
    tifffile.imwrite(tmp_path / "c.tif", stored_as(stack(), "ZCYX"))
    assert [read_class_names(tmp_path / f"{name}.tif", 2) for name in "abc"] == [None] * 3


def test_as_many_names_as_channels_are_needed(tmp_path):
    with pytest.raises(errors.ChannelError, match="1 names were given"):
        write_volume(tmp_path / "a.tif", Volume(stack()), class_names=["nuclei"])


def test_fiji_and_ome_are_told_the_names_of_channels_in_their_own_way(tmp_path):
    write_volume(tmp_path / "a.tif", Volume(stack()), class_names=("golgi", "nuclei"))
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.imagej_metadata["Labels"] == ["golgi", "nuclei"] * 5
    numbers = Volume(stack().astype(np.uint32) + np.uint32(70_000))
    write_volume(tmp_path / "b.tif", numbers, class_names=("golgi", "nuclei"))
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        channels = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]["Channel"]
    assert [channel["Name"] for channel in channels] == ["golgi", "nuclei"]


def test_an_interrupted_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    write_volume(tmp_path / "a.tif", Volume(stack()))

    def full_disk(file, *arguments, **options):
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tifffile, "imwrite", full_disk)
    with pytest.raises(errors.OutputError, match=r"a\.tif: cannot be written \(No space left on device\)"):
        write_volume(tmp_path / "a.tif", Volume(stack(seed=1)))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array, stack())


def test_writing_where_there_is_no_folder_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "missing" / "a.tif", tmp_path / "file" / "a.tif"):
        with pytest.raises(errors.OutputError, match="cannot be written"):
            write_volume(path, Volume(stack()))


# ---- finding


@pytest.fixture
def folder(tmp_path):
    for name in ("cell10.tif", "cell2.TIFF", "Cell1.tif", ".hidden.tif", "notes.txt", "sub/deep.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(paths):
    return [path.name for path in paths]


def test_a_folder_stands_for_its_stacks_in_natural_name_order(folder):
    assert names(find_stacks([folder])) == names(find_stacks(str(folder))) == ["Cell1.tif", "cell2.TIFF", "cell10.tif"]


def test_a_glob_stands_for_the_stacks_it_matches(folder):
    assert names(find_stacks([f"{folder}/*1*"])) == ["Cell1.tif", "cell10.tif"]
    assert names(find_stacks([f"{folder}/**/d*.tif"])) == ["deep.tif"]


def test_files_keep_their_order_and_are_taken_once(folder):
    found = find_stacks([folder / "cell10.tif", folder, folder / "sub" / ".." / "Cell1.tif"])
    assert names(found) == ["cell10.tif", "Cell1.tif", "cell2.TIFF"]


def test_a_file_with_a_globs_letters_in_its_name_is_found(tmp_path):
    (tmp_path / "cell[1].tif").touch()
    assert names(find_stacks([tmp_path / "cell[1].tif"])) == ["cell[1].tif"]


@pytest.mark.parametrize("path", ["nothing.tif", "*.png", "empty", "a**b.tif"])
def test_a_path_that_leads_to_nothing_is_an_error_beside_others_that_do(folder, path):
    (folder / "empty").mkdir()
    with pytest.raises(errors.FileMissingError, match="no such"):
        find_stacks([folder, folder / path])


def test_an_empty_path_is_not_the_current_folder():
    with pytest.raises(errors.FileMissingError):
        find_stacks([""])


# ---- describing


def test_a_description_holds_what_was_stored_and_what_is_read(tmp_path):
    array = np.zeros((2, 10, 10, 2), np.uint16)
    array[..., 0] = np.arange(200).reshape(2, 10, 10)
    array[..., 1] = 7
    write_volume(tmp_path / "a.tif", Volume(array, (3, 2, 1)))
    described = describe(tmp_path / "a.tif")
    channels = described.pop("channels")
    assert described == {
        "path": str(tmp_path / "a.tif"), "axes": "ZCYX", "stored_shape": [2, 2, 10, 10], "shape": [2, 10, 10, 2],
        "dtype": "uint16", "voxel_size_um": [3.0, 2.0, 1.0],
    }  # fmt: skip
    assert (channels[0]["min"], channels[0]["max"], channels[0]["mean"]) == (0, 199, 99.5)
    expected = {"1": 1.99, "50": 99.5, "95": 189.05, "98": 195.02, "99.8": 198.602}
    assert channels[0]["percentiles"] == pytest.approx(expected)
    assert set(channels[1]["percentiles"].values()) == {7.0}


def test_a_mask_of_single_bits_can_be_described(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", stack((3, 4, 5)) >= 30, photometric="minisblack")
    assert describe(tmp_path / "a.tif")["channels"][0]["mean"] == 0.5


# ---- real stacks

DATA = os.environ.get("TFCYCLEGAN3D_DATA", "")


@pytest.mark.skipif(not DATA, reason="TFCYCLEGAN3D_DATA names no folder of real stacks")
@pytest.mark.parametrize(
    ("file", "axes", "shape", "voxel_size"),
    [
        ("qcanet/8_cell_stage_raw.tif", None, (51, 120, 122, 1), None),
        ("two_channel/rgb_3D.tif", "ZCYX", (75, 75, 75, 2), None),
        ("golgi/golgi_single_cell.tif", None, (25, 137, 147, 1), (0.3876, 0.3514353, 0.3514353)),
    ],
)
def test_real_stacks_are_read_and_written_back(tmp_path, file, axes, shape, voxel_size):
    volume = read_volume(Path(DATA) / file, axes=axes)
    assert (volume.array.shape, volume.array.dtype, volume.voxel_size_um) == (shape, np.uint16, voxel_size)
    check_image(volume)
    again = read_volume(write_volume(tmp_path / "again.tif", volume))
    np.testing.assert_array_equal(again.array, volume.array)
    assert again.voxel_size_um == voxel_size


@pytest.mark.skipif(not DATA, reason="TFCYCLEGAN3D_DATA names no folder of real stacks")
def test_a_real_stack_of_unnamed_channels_needs_its_axes():
    with pytest.raises(errors.AxesError, match=r"found axes QQYX of shape \(75, 2, 75, 75\)"):
        read_volume(Path(DATA) / "two_channel/rgb_3D.tif")


def test_reading_stacks_needs_no_tensorflow():
    import subprocess
    import sys

    code = "import sys, tfcyclegan3d.volumes; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(volumes.__file__).parents[1]).returncode == 0


@pytest.mark.parametrize("channels", [None, (1,), (1, 0)])
@pytest.mark.parametrize(("axes", "shape"), [(None, (5, 2, 6, 7)), ("ZCYX", (5, 2, 6, 7)), ("YXZC", (6, 7, 5, 2))])
def test_the_grid_is_that_of_the_stack_read_whole(tmp_path, axes, shape, channels):
    array = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    if axes is None:
        write_volume(tmp_path / "stack.tif", Volume(array.transpose(0, 2, 3, 1), (2.0, 0.5, 0.5)))
    else:
        tifffile.imwrite(tmp_path / "stack.tif", array, photometric="minisblack")
    whole = read_volume(tmp_path / "stack.tif", axes, channels)
    grid = read_grid(tmp_path / "stack.tif", axes, channels)
    assert grid == (whole.shape, whole.n_channels, whole.voxel_size_um, whole.name)


def test_a_grid_of_channels_that_are_not_there_is_an_error(tmp_path):
    write_volume(tmp_path / "stack.tif", Volume(np.zeros((2, 3, 4, 2), np.uint8)))
    with pytest.raises(errors.ChannelError, match="were asked for"):
        read_grid(tmp_path / "stack.tif", None, (2,))


def test_a_voxel_size_given_wins(tmp_path):
    write_volume(tmp_path / "stack.tif", Volume(np.zeros((2, 3, 4, 2), np.uint8), (3.0, 1.0, 1.0)))
    assert read_volume(tmp_path / "stack.tif", voxel_size_um=(1.0, 2.0, 2.0)).voxel_size_um == (1.0, 2.0, 2.0)
    assert read_grid(tmp_path / "stack.tif", voxel_size_um=(1.0, 2.0, 2.0)).voxel_size_um == (1.0, 2.0, 2.0)
    with pytest.raises(errors.UserError, match="voxel size"):
        read_grid(tmp_path / "stack.tif", voxel_size_um=(0.0, 1.0, 1.0))


def test_a_folder_of_simulated_stacks_means_its_stacks_unless_others_are_named(tmp_path):
    for name in ("stack_000", "truth_000", "objects_000", "truth_001", "mask_000"):
        write_volume(tmp_path / f"{name}.tif", Volume(np.ones((2, 3, 4), np.uint8)))

    def names(*paths):
        return [path.stem for path in find_images(paths)]

    assert names(tmp_path) == ["mask_000", "stack_000", "truth_001"]
    assert names(tmp_path / "truth_000.tif") == ["truth_000"]
    assert names(str(tmp_path / "*_000.tif")) == ["mask_000", "objects_000", "stack_000", "truth_000"]


def test_a_folder_that_predict_wrote_to_means_its_stacks_unless_others_are_named(tmp_path):
    for name in ("cell.ome", "cell_mask", "cell_probability", "cell_objects", "other_mask"):
        write_volume(tmp_path / f"{name}.tif", Volume(np.ones((2, 3, 4), np.uint8)))

    assert [path.name for path in find_images(tmp_path)] == ["cell.ome.tif", "other_mask.tif"]
    assert [path.name for path in find_images(tmp_path / "cell_mask.tif")] == ["cell_mask.tif"]
    assert len(find_images(str(tmp_path / "cell_*"))) == 3


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (("mask_000", "objects_000"), ["mask_000"]),
        (("stack_000", "truth_000", "objects_000"), ["truth_000"]),
        (("cell", "cell_mask", "cell_objects"), ["cell_mask"]),
        (("a", "b"), ["a", "b"]),
    ],
)
def test_of_a_folder_with_masks_those_alone_are_taken_for_masks(tmp_path, written, meant):
    for name in written:
        write_volume(tmp_path / f"{name}.tif", Volume(np.ones((2, 3, 4), np.uint8)))
    assert [path.stem for path in find_masks([tmp_path])] == meant
