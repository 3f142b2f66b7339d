"""The paper's pictures."""

import itertools
from collections import Counter

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from mpl_toolkits.mplot3d.proj3d import proj_transform

from tfcyclegan3d import errors
from tfcyclegan3d.experiments import figures
from tfcyclegan3d.experiments.figures import planes_figure, renderings_figure
from tfcyclegan3d.volumes import Volume

CLASSES = ("golgi", "nuclei")
VOXEL_UM = (2.0, 1.0, 0.5)
SHAPE = (10, 12, 14)
SIDES = np.array((7.0, 12.0, 20.0))


def _box(*slices, shape=SHAPE, channel=0, n_channels=2):
    mask = np.zeros((*shape, n_channels), bool)
    mask[..., channel][slices] = True
    return mask


def _noise(shape=SHAPE, n_channels=2, voxel_size_um=VOXEL_UM):
    return Volume(np.random.default_rng(0).normal(size=(*shape, n_channels)), voxel_size_um, "cells")


def _surface(mask, sides):
    return figures._surface(figures._reduced(mask, sides)[..., 0], sides)


def _outline(axis):
    """Return where the box of a panel is drawn, in pixels of the figure: the least and the greatest x and y."""
    limits = (axis.get_xlim(), axis.get_ylim(), axis.get_zlim())
    seen = proj_transform(*np.array(list(itertools.product(*limits))).T, axis.get_proj())
    places = axis.transData.transform(np.stack(seen[:2], axis=1))
    return places.min(axis=0), places.max(axis=0)


def _pictures(figure):
    """Return what each panel shows where its box is (YX3 int), without the titles and the edges."""
    figure.legends[0].remove()
    for axis in figure.axes:
        for artist in [*axis.lines, *axis.texts]:
            artist.remove()
        axis.title.set_text("")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[::-1, :, :3].astype(int)
    corners = [np.rint(_outline(axis)).astype(int) for axis in figure.axes]
    return [pixels[bottom:top, left:right] for (left, bottom), (right, top) in corners]


def _middle_of(bright):
    rows, columns = np.nonzero(bright)
    return np.array((rows.min() + rows.max(), columns.min() + columns.max())) / 2


def test_the_surface_of_a_box_lies_at_its_faces_in_micrometres():
    triangles, normals = _surface(_box(slice(2, 5), slice(3, 8), slice(4, 10)), SIDES)
    np.testing.assert_allclose(triangles.min(axis=(0, 1)), (2, 3, 4), atol=1e-5)
    np.testing.assert_allclose(triangles.max(axis=(0, 1)), (5, 8, 10), atol=1e-5)
    outwards = triangles.mean(axis=1) - (3.5, 5.5, 7)
    assert ((normals * outwards).sum(axis=1) > 0).all()


def test_a_reduced_surface_lies_where_the_whole_one_does(monkeypatch):
    monkeypatch.setattr(figures, "MOST_VOXELS", 20**3)
    triangles, _ = _surface(_box(slice(10, 30), slice(6, 34), slice(20, 28), shape=(40, 40, 40)), np.full(3, 40.0))
    np.testing.assert_allclose(triangles.min(axis=(0, 1)), (20, 6, 10), atol=1e-5)
    np.testing.assert_allclose(triangles.max(axis=(0, 1)), (28, 34, 30), atol=1e-5)


def test_a_surface_cut_by_the_border_is_closed_and_anticlockwise_from_outside():
    triangles, _ = _surface(_box(..., slice(0, 9)), SIDES)
    corners = [tuple(np.round(corner, 4)) for corner in triangles.reshape(-1, 3)]
    edges = Counter()
    for k in range(0, len(corners), 3):
        edges.update(frozenset(pair) for pair in itertools.combinations(corners[k : k + 3], 2))
    assert set(edges.values()) == {2}
    volume = np.einsum("ni,ni->", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2])) / 6
    whole = 4.5 * 12 * 20
    assert 0.9 * whole < volume <= whole  # Its edges are cut off.


def test_specks_smaller_than_half_a_block_are_still_drawn(monkeypatch):
    monkeypatch.setattr(figures, "MOST_VOXELS", 5**3)
    triangles, _ = _surface(_box(5, 5, 5, shape=(20, 20, 20)), np.full(3, 20.0))
    np.testing.assert_allclose(triangles.mean(axis=(0, 1)), 6, atol=0.1)


def test_blocks_hold_the_mean_of_all_their_voxels(monkeypatch):
    monkeypatch.setattr(figures, "MOST_VOXELS", 3 * 2 * 4)
    array = np.random.default_rng(1).integers(0, 1000, (7, 5, 9, 2)).astype(np.uint16)
    reduced = figures._reduced(array, np.array((9.0, 5.0, 7.0)))
    parts = [
        [range(k * n // m, (k + 1) * n // m) for k in range(m)]
        for n, m in zip(array.shape[:3], reduced.shape[:3], strict=True)
    ]
    assert np.prod(reduced.shape[:3]) < 7 * 5 * 9 / 4
    for place in np.ndindex(*reduced.shape[:3]):
        block = array[np.ix_(*(part[k] for part, k in zip(parts, place, strict=True)))]
        np.testing.assert_allclose(reduced[place], block.mean(axis=(0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize("voxel", [(2, 9, 3), (9, 1, 12), (0, 0, 0)])
def test_a_bright_voxel_is_projected_onto_its_surface(voxel):
    mask = _box(*voxel)
    image, surface = _pictures(
        renderings_figure(Volume(mask.astype(np.uint8) * 200, VOXEL_UM, "one"), {"mask": mask}, CLASSES)
    )
    projected = _middle_of(image[..., 0] > 127)  # Between voxels, half of it is left.
    drawn = _middle_of(surface[..., 0] - surface[..., 1] > 30)
    np.testing.assert_allclose(projected, drawn, atol=3)  # A voxel is 20 to 60 pixels large.


def test_all_panels_see_x_to_the_right_y_to_the_front_and_z_downwards():
    figure = renderings_figure(_noise(), {"a": _box(3, 3, 3), "b": ~_box(4, 4, 4), "c": _box(0)}, CLASSES)
    for axis in figure.axes:
        points = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)], float)
        right, up, _ = proj_transform(*points.T, axis.get_proj())
        assert right[1] > right[0] and up[2] < up[0] and up[3] < up[0]
        assert np.linalg.det(axis.get_proj()[:3, :3]) < 0  # Right, up, away is left-handed: X, Y, Z is not.
        np.testing.assert_array_equal(axis.get_proj(), figure.axes[0].get_proj())
        assert (axis.get_xlim(), axis.get_ylim(), axis.get_zlim()) == ((0, 7), (12, 0), (20, 0))
    # A micrometre is as long along each axis.
    lengths = np.linalg.norm(figure.axes[0].get_proj()[:3, :3], axis=0)
    np.testing.assert_allclose(lengths, lengths[0])


def test_what_lies_in_front_hides_what_lies_behind():
    shape = (12, 40, 40)
    behind = _box(slice(6, 8), slice(18, 22), slice(18, 22), shape=shape)
    lid = _box(slice(0, 2), shape=shape, channel=1)
    figure = renderings_figure(_noise(shape, 2, None), {"bare": behind, "covered": behind | lid}, CLASSES)
    _, bare, covered = (picture[..., 0] - picture[..., 1] > 60 for picture in _pictures(figure))
    assert bare.sum() > 100
    assert not covered.any()


def test_the_sides_that_face_the_viewer_are_drawn_lit_from_above_on_the_left():
    _, (axis,) = figures._scenes(1, SIDES)
    matrix = figures._matrix(axis)
    mask = _box(slice(2, 8), slice(3, 9), slice(3, 11), n_channels=1)
    triangles, colours = figures._lit_surfaces(mask, SIDES, matrix, ("nuclei",))
    places = triangles.mean(axis=1)
    faces = np.isclose(places, [[[1.5, 3, 4]], [[5.5, 9, 16]]], atol=1e-4)  # The least and the greatest x, y, z.
    assert not faces[0, :, :2].any() and not faces[1, :, 2].any()
    top, front, right = (colours[face].mean() for face in (faces[0, :, 2], faces[1, :, 1], faces[1, :, 0]))
    assert top > front > right


def test_panels_are_titled_in_order_and_an_empty_mask_says_so():
    masks = {name: _box(3, 3, 3) for name in ("truth", "otsu", "unet", "cyclegan")} | {"none": _box(0) & False}
    figure = renderings_figure(_noise(), masks, CLASSES)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["cells: maximum projection", "truth", "otsu", "unet", "cyclegan", "none (empty)"]
    drawn = [sum(isinstance(artist, Poly3DCollection) for artist in axis.collections) for axis in figure.axes]
    assert drawn == [0, 1, 1, 1, 1, 0]
    assert len({round(axis.get_position().x0, 3) for axis in figure.axes}) <= 4
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(CLASSES)


def test_a_title_stands_above_its_box_and_below_the_row_above():
    figure = renderings_figure(_noise((4, 40, 40)), {str(k): _box(0, shape=(4, 40, 40)) for k in range(5)}, CLASSES)
    FigureCanvasAgg(figure).draw()
    outlines = [_outline(axis) for axis in figure.axes]
    for k, axis in enumerate(figure.axes):
        title = axis.title.get_window_extent()
        assert title.y0 > outlines[k][1][1]
        assert title.y1 < (figure.bbox.height if k < 3 else outlines[k - 3][0][1])


def test_a_single_class_is_seen_on_the_background():
    mask = _box(slice(3, 7), slice(3, 7), slice(3, 7), n_channels=1)
    picture = _pictures(renderings_figure(_noise(n_channels=1), {"mask": mask}, ("nuclei",)))[1]
    assert picture.max() > 150
    assert np.median(picture) < 30


def test_masks_that_do_not_fit_the_image_are_refused():
    with pytest.raises(errors.ShapeMismatchError, match="otsu"):
        renderings_figure(_noise(), {"truth": _box(0), "otsu": _box(0)[1:]}, CLASSES)
    with pytest.raises(errors.ChannelError, match="otsu"):
        renderings_figure(_noise(), {"otsu": _box(0)[..., :1]}, CLASSES)
    with pytest.raises(errors.ShapeMismatchError):
        planes_figure(_noise(), Volume(_box(0)[1:]), _box(0), CLASSES)
    with pytest.raises(errors.ChannelError, match="synthetic"):
        planes_figure(_noise(), Volume(_box(0)), _box(0)[..., :1], CLASSES)


def test_planes_are_the_fullest_of_the_truth_and_of_the_synthetic_mask():
    truth = _box(6, slice(2, 5), slice(2, 9)).astype(np.uint16) * 7
    synthetic = _box(3, slice(0, 4), shape=(5, 9, 11), channel=1)
    image = _noise()
    image.array[6, 3, 4, 0] = 50
    figure = planes_figure(image, Volume(truth), synthetic, CLASSES)
    titles = ["cells: plane z = 6", "truth: plane z = 6", "synthetic mask: plane z = 3"]
    assert [axis.get_title() for axis in figure.axes] == titles
    shown = [axis.images[0].get_array() for axis in figure.axes]
    assert shown[0][3, 4, 0] == 1
    np.testing.assert_array_equal(shown[1], (truth[6, ..., :1] > 0) * np.array((1.0, 0.0, 1.0)))
    np.testing.assert_array_equal(shown[2], synthetic[3, ..., 1:] * np.array((0.0, 1.0, 0.0)))
    assert all("µm" in axis.texts[0].get_text() for axis in figure.axes)
    assert not any(axis.texts for axis in planes_figure(_noise(voxel_size_um=None), Volume(truth), truth, CLASSES).axes)
