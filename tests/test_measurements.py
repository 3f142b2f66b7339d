"""Measuring objects: ellipsoids of known measure, anisotropic voxels, any storage, and what is no object."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from scipy.integrate import dblquad
from skimage.measure import marching_cubes, mesh_surface_area

import tfcyclegan3d as tc
from tfcyclegan3d import errors
from tfcyclegan3d.objects import boxes, surfaces
from tfcyclegan3d.objects.measurements import centre_and_spread, columns, measure_objects
from tfcyclegan3d.objects.surfaces import surface_area
from tfcyclegan3d.sources import open_source
from tfcyclegan3d.volumes import Volume, write_volume

from .blobs import ellipsoid


def true_surface(a, b, c):
    """Integrate the area of an ellipsoid's surface."""

    def element(longitude, latitude):
        sine = np.sin(latitude)
        return sine * np.sqrt(
            (b * c * sine * np.cos(longitude)) ** 2
            + (a * c * sine * np.sin(longitude)) ** 2
            + (a * b * np.cos(latitude)) ** 2
        )

    return dblquad(element, 0, np.pi, 0, 2 * np.pi, epsabs=1e-3)[0]


def labels_of(*masks):
    labels = np.zeros(masks[0].shape, np.int32)
    for number, mask in enumerate(masks, 1):
        labels[mask] = number
    return labels


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.5, 0.5, 0.5), (0.9, 0.45, 0.3)])
def test_an_ellipsoid_has_the_measures_that_geometry_gives_it(spacing):
    semi_axes = (6.0, 9.0, 14.0)
    rotation = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    shape = [int(36 / side) for side in spacing]
    centre = np.array([17.2, 17.9, 17.4])
    labels = labels_of(ellipsoid(shape, centre, semi_axes, spacing, rotation))
    (row,) = measure_objects(labels, voxel_size_um=spacing).to_dict("records")
    assert row["volume_um3"] == pytest.approx(4 / 3 * np.pi * 6 * 9 * 14, rel=0.02)
    assert [row[f"centre_{axis}_um"] for axis in "zyx"] == pytest.approx(centre, abs=0.05)
    assert [row[f"centre_{axis}"] for axis in "zyx"] == pytest.approx(centre / spacing, abs=0.1)
    lengths = [row[f"{which}_axis_um"] for which in ("minor", "middle", "major")]
    assert lengths == pytest.approx([12, 18, 28], rel=0.03)
    axis = np.array([row[f"axis_{name}"] for name in "zyx"])
    assert abs(axis @ rotation[:, 2]) == pytest.approx(1, abs=1e-3)
    assert row["azimuth_degrees"] == pytest.approx(np.degrees(np.arctan2(axis[1], axis[2])))
    assert row["elevation_degrees"] == pytest.approx(np.degrees(np.arcsin(axis[0])))
    assert row["surface_um2"] == pytest.approx(true_surface(*semi_axes), rel=0.05)
    ball = np.pi ** (1 / 3) * (6 * row["volume_um3"]) ** (2 / 3)
    assert row["sphericity"] == pytest.approx(ball / row["surface_um2"])
    assert row["diameter_um"] == pytest.approx(2 * (6 * 9 * 14) ** (1 / 3), rel=0.02)
    assert not row["touches_border"]


def test_a_ball_is_round_and_a_needle_is_not():
    ball = ellipsoid((26, 26, 26), (12.6, 12.5, 12.4), (10, 10, 10))
    needle = ellipsoid((14, 14, 70), (7, 7, 35), (3, 3, 30))
    ball_row, needle_row = (measure_objects(labels_of(one)).iloc[0] for one in (ball, needle))
    assert ball_row["sphericity"] == pytest.approx(1, abs=0.02)
    assert needle_row["sphericity"] < 0.75
    assert needle_row["azimuth_degrees"] == pytest.approx(0, abs=0.5)


def test_a_box_of_voxels_has_the_moments_of_a_box():
    """Axes are those of an ellipsoid of the same moments: a box of side L has the variance L^2 / 12 along it."""
    labels = np.zeros((8, 9, 12), int)
    labels[2:4, 2:6, 2:10] = 1
    row = measure_objects(labels, voxel_size_um=(2, 1, 1)).iloc[0]
    assert row["volume_um3"] == 2 * 4 * 8 * 2
    wanted = [2 * np.sqrt(5 / 12) * side for side in (8, 4, 4)]
    assert [row[f"{which}_axis_um"] for which in ("major", "middle", "minor")] == pytest.approx(wanted)


def test_brightness_is_that_of_the_objects_own_voxels():
    rng = np.random.default_rng(2)
    labels, image = rng.integers(0, 4, (6, 7, 8)), rng.integers(0, 1000, (6, 7, 8, 2)).astype(np.uint16)
    table = measure_objects(labels, image, channels=("dapi", "actin"))
    for _, row in table.iterrows():
        inside = image[labels == row["label"]].astype(float)
        assert row["n_voxels"] == len(inside)
        assert [row["mean_dapi"], row["mean_actin"]] == pytest.approx(inside.mean(axis=0))
        assert [row["total_dapi"], row["total_actin"]] == pytest.approx(inside.sum(axis=0))


def test_without_a_voxel_size_lengths_are_voxels_and_the_table_says_so():
    labels = labels_of(ellipsoid((20, 20, 20), (9, 9, 9), (6, 6, 6)))
    table = measure_objects(labels)
    assert table.attrs["unit"] == "voxels"
    assert "volume_voxels" in table.columns
    assert not [name for name in table.columns if "_um" in name]
    assert table["volume_voxels"].iloc[0] == table["n_voxels"].iloc[0] == (labels > 0).sum()
    known = measure_objects(Volume(labels, (1, 0.5, 0.5)))
    assert known.attrs["unit"] == "um"
    assert known["volume_um3"].iloc[0] == pytest.approx((labels > 0).sum() / 4)


def test_the_image_tells_the_voxel_size_where_labels_do_not():
    labels = np.ones((2, 2, 2), int)
    assert measure_objects(labels, Volume(labels, (2.0, 1.0, 1.0))).attrs["voxel_size"] == (2.0, 1.0, 1.0)


def test_objects_at_the_border_are_marked():
    labels = np.zeros((7, 7, 7), int)
    labels[3, 3, 3], labels[0, 3, 3], labels[3, 3, 6] = 1, 2, 3
    assert measure_objects(labels)["touches_border"].tolist() == [False, True, True]


def test_numbers_with_gaps_and_large_ones_are_kept():
    labels = np.zeros((4, 5, 6), np.int64)
    labels[1, 1, 1], labels[2, 3, 3:5] = 9, 2**30
    table = measure_objects(labels)
    assert table["label"].tolist() == [9, 2**30]
    assert table["n_voxels"].tolist() == [1, 2]


def test_no_object_is_an_empty_table_with_its_columns():
    table = measure_objects(np.zeros((4, 5, 6), int), np.zeros((4, 5, 6)))
    assert len(table) == 0
    assert table.columns.tolist() == columns("voxels", ["nuclei"])
    assert table["touches_border"].dtype == bool
    assert table["volume_voxels"].dtype == float


@pytest.mark.parametrize("n_voxels", [1, 2, 5])
def test_a_few_voxels_have_a_surface_no_smaller_than_a_balls(n_voxels):
    mask = np.zeros((3, 3, 8), bool)
    mask[1, 1, 1 : 1 + n_voxels] = True
    assert surface_area(mask, (1, 1, 1)) >= np.pi ** (1 / 3) * (6 * n_voxels) ** (2 / 3) * (1 - 1e-9)
    assert 0 < measure_objects(mask.astype(int))["sphericity"].iloc[0] <= 1


def test_a_stack_on_disk_is_measured_as_one_in_memory(tmp_path, monkeypatch):
    stack = tc.simulate_stack((24, 64, 80), seed=3, voxel_size_um=(0.5, 0.25, 0.25))
    objects = Volume(stack.truth.objects, (0.5, 0.25, 0.25))
    whole = measure_objects(objects, stack.image)
    assert set(whole["class"]) == {"golgi", "nuclei"}
    monkeypatch.setattr(boxes, "TILE", (16, 16, 16))
    monkeypatch.setattr("tfcyclegan3d.tiling.SLAB_VALUES", 2**12)
    for suffix in (".zarr", ".tif"):
        path = write_volume(tmp_path / f"objects{suffix}", objects)
        read = measure_objects(path, stack.image)
        assert read.equals(whole)


@pytest.mark.parametrize("shape", [(30, 12, 17), (9, 40, 11), (7, 8, 31), (1, 1, 20), (5, 30, 30)])
def test_an_object_measured_in_parts_has_the_measures_of_one_measured_at_once(monkeypatch, shape):
    rng = np.random.default_rng(1)
    rough = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    labels, image = (rough > np.median(rough)).astype(np.uint8), rng.normal(size=(*shape, 2))
    labels[0, 0, 0] = labels[-1, -1, -1] = 1
    whole = measure_objects(labels, image, voxel_size_um=(2, 1, 0.5))
    monkeypatch.setattr(surfaces, "MOST_SMOOTHED", 1000)
    monkeypatch.setattr("tfcyclegan3d.objects.measurements.MOST_READ", 400)
    parts = measure_objects(labels, image, voxel_size_um=(2, 1, 0.5))
    assert len(whole) == 1
    pd.testing.assert_frame_equal(parts, whole, rtol=1e-6)


def test_surface_moments_and_centre_are_those_of_all_voxels_together():
    mask = ellipsoid((20, 26, 40), (9, 12, 18), (7, 9, 16), rotation=np.linalg.qr(np.arange(9.0).reshape(3, 3) ** 2)[0])
    places = np.argwhere(mask)
    centre, spread = centre_and_spread(mask)
    np.testing.assert_allclose(centre, places.mean(axis=0))
    np.testing.assert_allclose(spread, np.cov(places.T, bias=True), atol=1e-9)
    blurred = ndimage.gaussian_filter(np.pad(mask, 4).astype(np.float32), 1)
    below, above = np.sort(blurred.ravel())[[-len(places) - 1, -len(places)]]
    points, faces, _, _ = marching_cubes(blurred, float(below + above) / 2)
    assert surface_area(mask, (1, 1, 1)) == pytest.approx(mesh_surface_area(points, faces), rel=1e-6)


def test_a_giant_object_takes_little_more_memory_than_its_mask(monkeypatch):
    """Of 50 bytes a voxel, one that fills a whole stack of a light sheet microscope would take 15 GiB."""
    monkeypatch.setattr(surfaces, "MOST_SMOOTHED", 2**16)
    monkeypatch.setattr("tfcyclegan3d.objects.measurements.MOST_READ", 2**16)
    monkeypatch.setattr("tfcyclegan3d.tiling.SLAB_VALUES", 2**16)
    labels, image = np.pad(np.ones((20, 200, 300), np.uint8), 2), np.zeros((24, 204, 304, 2), np.uint16)
    tracemalloc.start()
    measure_objects(labels, image)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 6 * labels.size


def test_boxes_of_objects_span_the_parts_in_which_they_are_read(monkeypatch):
    monkeypatch.setattr("tfcyclegan3d.tiling.SLAB_VALUES", 40)
    labels = np.zeros((6, 7, 8), int)
    labels[1:5, 2:6, 3] = 4
    ((number, box),) = boxes.boxes_of(open_source(labels))[0].items()
    assert number == 4
    np.testing.assert_array_equal(box, [[1, 2, 3], [5, 6, 4]])


def test_images_of_another_shape_are_refused():
    with pytest.raises(errors.ShapeMismatchError, match=r"\(4, 5, 7\).*\(4, 5, 6\)"):
        measure_objects(np.zeros((4, 5, 6), int), np.zeros((4, 5, 7)))


def test_probabilities_and_negative_numbers_are_no_labels():
    with pytest.raises(errors.VolumeContentError, match=r"0\.5.*--prediction"):
        measure_objects(np.full((3, 3, 3), 0.5))
    with pytest.raises(errors.VolumeContentError, match="negative"):
        measure_objects(np.full((3, 3, 3), -1))


def test_names_that_do_not_fit_the_channels_are_refused():
    with pytest.raises(errors.ChannelError):
        measure_objects(np.zeros((3, 3, 3), int), classes=("golgi", "nuclei"))
    with pytest.raises(errors.ChannelError):
        measure_objects(np.zeros((3, 3, 3), int), np.zeros((3, 3, 3)), channels=("a", "b"))
