"""Pictures of a segmentation."""

import numpy as np

from tfcyclegan3d.inference.pictures import overview
from tfcyclegan3d.volumes import Volume


def test_a_dense_stack_seen_along_z_is_not_one_bright_area():
    depth = np.zeros((10, 8, 6), bool)
    for x in range(6):
        depth[: 2 * x, :, x] = True
    depth[0] = True  # From above, every place shows an object.
    image = Volume(np.where(depth, 900, 100).astype(np.uint16)[..., np.newaxis], None, "dense")
    figure = overview(image, Volume(depth[..., np.newaxis]), ("nuclei",))
    shares = np.array([1, 2, 4, 6, 8, 10]) / 10
    along_z, mask = figure.axes[3], figure.axes[5]
    assert "mean along z" in along_z.get_title()
    for axis in (along_z, mask):
        np.testing.assert_allclose(axis.images[0].get_array()[4, :, 0], shares)


def test_the_plane_with_the_most_objects_is_shown():
    mask = np.zeros((5, 8, 8, 1), bool)
    mask[3, 2:5, 2:5] = True
    figure = overview(Volume(np.arange(320.0).reshape(5, 8, 8, 1), None, "cells"), Volume(mask), ("nuclei",))
    assert figure.axes[0].get_title() == "cells: plane z = 3"
    np.testing.assert_array_equal(figure.axes[2].images[0].get_array()[..., 0], mask[3, ..., 0])
