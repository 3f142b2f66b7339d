"""Masks are opened by programs that share no code with this one: values, channels, voxel size, colours."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorstore
from PIL import Image

from tfcyclegan3d.volumes import Volume, write_volume

SIZE = (0.5, 0.2, 0.25)
RED_AND_GREEN = [(255, 0, 0), (0, 255, 0)]


@pytest.fixture
def masks():
    return Volume(np.random.default_rng(0).uniform(size=(6, 40, 50, 2)) > 0.8, SIZE, "cells_mask")


@pytest.fixture
def instances():
    return Volume(np.random.default_rng(1).integers(0, 70_000, (6, 40, 50, 1)).astype(np.uint32), SIZE, "cells")


def test_pillow_reads_every_plane_of_a_mask_and_the_size_of_its_voxels(tmp_path, masks):
    """Pages are Z by Z, each with all channels; resolution is in voxels per unit, which the description names."""
    path = write_volume(tmp_path / "mask.tif", masks, RED_AND_GREEN, ("golgi", "nuclei"))
    with Image.open(path) as image:
        description = dict(line.split("=", 1) for line in image.tag_v2[270].splitlines() if "=" in line)
        assert (description["channels"], description["slices"], description["unit"]) == ("2", "6", "um")
        assert float(description["spacing"]) == 0.5
        assert [float(image.tag_v2[tag]) for tag in (282, 283)] == pytest.approx([1 / 0.25, 1 / 0.2])
        assert image.n_frames == 12
        for page in range(image.n_frames):
            image.seek(page)
            np.testing.assert_array_equal(np.asarray(image), masks.array[page // 2, ..., page % 2] * 255)


@pytest.mark.parametrize("which", ["masks", "instances"])
def test_tensorstore_reads_every_level_of_an_ome_zarr(tmp_path, which, request):
    volume = request.getfixturevalue(which)
    path = write_volume(
        tmp_path / "mask.zarr",
        volume,
        RED_AND_GREEN if which == "masks" else None,
        ("golgi", "nuclei")[: volume.n_channels],
    )
    (image,) = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]["multiscales"]
    assert [(axis["name"], axis.get("unit")) for axis in image["axes"][1:]] == [(a, "micrometer") for a in "zyx"]
    for level, dataset in enumerate(image["datasets"]):
        store = {"driver": "file", "path": str(path / dataset["path"])}
        values = tensorstore.open({"driver": "zarr3", "kvstore": store}).result().read().result()
        scale = dataset["coordinateTransformations"][0]["scale"]
        for axis, (side, length) in enumerate(zip(SIZE, volume.shape, strict=True), start=1):
            assert values.shape[axis] == -(-length // round(scale[axis] / side))
        if level == 0:
            stored = volume.array * np.uint8(255) if which == "masks" else volume.array
            np.testing.assert_array_equal(values, stored.transpose(3, 0, 1, 2))


def test_bioio_finds_axes_voxel_size_and_values(tmp_path, masks, instances):
    """Not in the extra for tests: its readers want newer versions of tifffile and zarr than this package does."""
    bioio = pytest.importorskip("bioio")
    readers = {
        "mask.tif": pytest.importorskip("bioio_tifffile"),
        "instances.tif": pytest.importorskip("bioio_ome_tiff"),
        "mask.zarr": pytest.importorskip("bioio_ome_zarr"),
        "instances.zarr": pytest.importorskip("bioio_ome_zarr"),
    }
    for name, reader in readers.items():
        volume = masks if name.startswith("mask") else instances
        write_volume(tmp_path / name, volume, class_names=("golgi", "nuclei")[: volume.n_channels])
        image = bioio.BioImage(tmp_path / name, reader=reader.Reader)
        assert image.dims.order == "TCZYX"
        assert tuple(image.physical_pixel_sizes) == pytest.approx(SIZE)
        stored = volume.array * np.uint8(255) if volume is masks else volume.array
        assert image.dtype == stored.dtype
        np.testing.assert_array_equal(image.data[0], stored.transpose(3, 0, 1, 2))
