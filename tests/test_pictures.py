"""Pictures of a segmentation."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from tfcyclegan3d import errors
from tfcyclegan3d.colours import picture_colours
from tfcyclegan3d.inference.pictures import overview
from tfcyclegan3d.inference.seams import Seams
from tfcyclegan3d.volumes import Volume


def test_a_dense_stack_seen_along_z_is_not_one_bright_area():
    depth = np.zeros((10, 8, 6), bool)
    for x in range(6):
        depth[: 2 * x, :, x] = True
    depth[0] = True  # From above, every place shows an object.
    image = Volume(np.where(depth, 900, 100).astype(np.uint16)[..., np.newaxis], None, "dense")
    figure = overview(image, Volume(depth[..., np.newaxis]), ("nuclei",))
    shares = np.array([1, 2, 4, 6, 8, 10]) / 10
    along_z, mask = figure.axes[6], figure.axes[8]
    assert "mean along z" in along_z.get_title()
    for axis in (along_z, mask):
        np.testing.assert_allclose(axis.images[0].get_array()[4, :, 0], shares)


def test_a_stack_of_true_and_false_is_shown_in_black_and_white():
    stack = np.zeros((5, 8, 8, 1), bool)
    stack[2, 2:5, 2:5] = True
    shown = overview(Volume(stack, None, "cells"), Volume(stack), ("nuclei",)).axes[0].images[0].get_array()
    np.testing.assert_array_equal(shown.any(axis=-1), stack[2, ..., 0])


def test_the_plane_with_the_most_objects_is_shown():
    mask = np.zeros((5, 8, 8, 1), bool)
    mask[3, 2:5, 2:5] = True
    figure = overview(Volume(np.arange(320.0).reshape(5, 8, 8, 1), None, "cells"), Volume(mask), ("nuclei",))
    assert figure.axes[0].get_title() == "cells: plane z = 3"
    np.testing.assert_array_equal(figure.axes[2].images[0].get_array()[..., 0], mask[3, ..., 0])


@pytest.mark.parametrize(
    ("size", "step", "row", "aspect"),
    [((2.0, 0.5, 0.5), 1, 6, 4.0), ((2.0, 0.5, 0.5), 2, 12, 4.0), (None, 1, 6, 1.0), (None, 2, 12, 0.5)],
)
def test_the_fullest_plane_seen_along_y_has_the_proportions_of_the_voxels(size, step, row, aspect):
    mask = np.zeros((5, 8, 10, 1), bool)
    mask[1:4, 6, 2:5] = True
    image = Volume(np.arange(400.0).reshape(5, 8, 10, 1), size, "cells")
    figure = overview(image, Volume(mask), ("nuclei",), step=step)
    stack, outlines, side = figure.axes[3:6]
    assert stack.get_title() == f"cells: plane y = {row}"
    np.testing.assert_array_equal(side.images[0].get_array()[..., 0], mask[:, 6, :, 0])
    assert [axis.get_aspect() for axis in (stack, outlines, side)] == [aspect] * 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["nuclei", "outline"]


def test_outlines_of_several_classes_have_their_colours():
    mask = np.zeros((3, 8, 8, 2), bool)
    mask[1, 2:5, 2:5, 0] = mask[1, 4:7, 4:7, 1] = True
    figure = overview(Volume(np.arange(384.0).reshape(3, 8, 8, 2)), Volume(mask), ("golgi", "nuclei"))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["golgi", "nuclei"]
    drawn = [contours.get_edgecolor()[0] for contours in figure.axes[1].collections]
    np.testing.assert_allclose(drawn, [to_rgba(colour) for colour in picture_colours(("golgi", "nuclei"))])


def test_every_plane_of_a_wide_stack_is_seen_from_the_side():
    mask = np.zeros((5, 8, 2400, 1), bool)
    mask[1, :, 40:2300] = True
    figure = overview(Volume(np.arange(96_000.0).reshape(5, 8, 2400, 1)), Volume(mask), ("nuclei",))
    side = figure.axes[5].images[0]
    np.testing.assert_array_equal(side.get_array()[..., 0], mask[:, 0, ::4, 0])
    assert side.get_extent() == [-0.5, 2399.5, 4.5, -0.5]


def test_a_picture_of_seams_is_drawn_whole_or_not_at_all(tmp_path, monkeypatch):
    def full_disk(figure, path, **options):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    seams = Seams(np.zeros(1), np.zeros(1), np.zeros((6, 8, 1), np.int32), ((4, 6, 8), (4, 3, 4)))
    grid = Volume(np.zeros((4, 6, 8, 1))).grid
    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(errors.OutputError, match=r"seams\.png: cannot be written \(No space left on device\)"):
        seams.draw(tmp_path / "seams.png", ("nuclei",), grid)
    assert not [*tmp_path.iterdir()]
    monkeypatch.undo()
    seams.draw(tmp_path / "seams.png", ("nuclei",), grid)
    assert [path.name for path in tmp_path.iterdir()] == ["seams.png"]
