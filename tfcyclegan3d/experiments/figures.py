"""The paper's pictures: planes of an image and of masks (its figure 1), and views of them in 3D (its figure 3)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from mpl_toolkits.mplot3d.axes3d import Axes3D
from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates
from skimage.measure import marching_cubes

from tfcyclegan3d import errors, panels
from tfcyclegan3d.colours import composite, picture_colours
from tfcyclegan3d.volumes import Volume

ELEVATION, AZIMUTH = 38, -65  # Degrees: from above, the front edge tilted so that two sides are seen.
MOST_VOXELS = 96**3  # Of a grid to be drawn: more triangles take longer than they show.
MOST_COLUMNS = 4
PANEL_INCHES = 5.0
MARGIN_INCHES = 0.5
PROJECTION_PIXELS = 400
LIGHT = np.array((-0.45, 0.6, 0.66))  # The way to it: right, up, towards the viewer; length 1.
HALFWAY = np.array((-0.247, 0.329, 0.911))  # Between that and the viewer, where a surface glosses.


def planes_figure(image: Volume, truth: Volume, synthetic: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Draw a plane of an image, of its truth and of a synthetic mask side by side, as the paper's figure 1 does.

    Parameters
    ----------
    image : Volume
        ZYXC of any real type, one channel a class; each is stretched by `panels.display_range`.
    truth : Volume
        Its mask, on the same grid; any value but 0 is object. The plane with the most of it is shown, of both.
    synthetic : ndarray, ZYXC
        A mask, in voxels of the image's size but of any shape; any value but 0 is object. Its own fullest plane is
        shown.
    class_names : sequence of str
        One a channel.

    Returns
    -------
    Figure
        Three panels: image, truth, synthetic mask; with scale bars where the image's voxel size is known.

    Raises
    ------
    ShapeMismatchError
        If the truth does not lie on the image's grid.
    ChannelError
        If the number of channels is not the number of classes.
    """
    drawn = Volume(synthetic, image.voxel_size_um, "synthetic mask")
    _check(image, [truth], class_names)
    _check(drawn, [], class_names)
    z, z_drawn = (panels.fullest_plane(mask.array) for mask in (truth, drawn))
    planes = [
        (f"{image.name}: plane z = {z}", panels.display_range(image.array[z])),
        (f"truth: plane z = {z}", truth.array[z] != 0),
        (f"synthetic mask: plane z = {z_drawn}", drawn.array[z_drawn] != 0),
    ]
    figure = Figure(figsize=(3 * PANEL_INCHES, PANEL_INCHES + 0.7), dpi=150, layout="constrained")
    for axis, (title, plane) in zip(figure.subplots(1, 3), planes, strict=True):
        panels.show(axis, plane, class_names, title)
        if image.voxel_size_um is not None:
            panels.scale_bar(axis, plane.shape[1], image.voxel_size_um[2])
    panels.legend(figure, class_names)
    return figure


def renderings_figure(image: Volume, masks: Mapping[str, np.ndarray], class_names: Sequence[str]) -> Figure:
    """Draw an image and masks of it in 3D, all seen from one place, as the paper's figure 3 does.

    The image is shown as its maximum along the line of sight, each mask as the surfaces of its objects, lit from the
    upper left and darker far away. X runs to the right, Y to the front and Z downwards: from above, a plane looks as
    in `planes_figure`. Stacks of more than `MOST_VOXELS` are averaged over blocks first, which smooths away what is
    thinner than half a block: of noise, single voxels.

    Parameters
    ----------
    image : Volume
        ZYXC of any real type, one channel a class; each is stretched by `panels.display_range`.
    masks : mapping of str to ndarray
        By title, in the order to show them in: ZYXC on the image's grid, any value but 0 is object.
    class_names : sequence of str
        One a channel.

    Returns
    -------
    Figure
        A panel for the image and one a mask, four in a row at most; that of an empty mask is titled so.

    Raises
    ------
    ShapeMismatchError
        If a mask does not lie on the image's grid.
    ChannelError
        If the number of channels is not the number of classes.
    """
    volumes = [Volume(mask, image.voxel_size_um, name) for name, mask in masks.items()]
    _check(image, volumes, class_names)
    sides = np.array(image.shape[::-1]) * (image.voxel_size_um or (1.0,) * 3)[::-1]
    figure, axes = _scenes(1 + len(volumes), sides)
    _label_edges(axes[0], sides, "voxels" if image.voxel_size_um is None else "µm")
    axes[0].title.set_text(f"{image.name}: maximum projection")
    shown = panels.display_range(_reduced(image.array, sides))
    projection, extent = _maximum_projection(shown, sides, _matrix(axes[0]))
    picture = AxesImage(axes[0], extent=extent, origin="upper", interpolation="bilinear", zorder=2)
    picture.set_data(composite(projection, class_names))
    axes[0].add_image(picture)
    for axis, volume in zip(axes[1:], volumes, strict=True):
        triangles, colours = _lit_surfaces(volume.array, sides, _matrix(axis), class_names)
        axis.title.set_text(volume.name if len(triangles) else f"{volume.name} (empty)")
        if len(triangles):
            # One collection, since triangles are sorted by their distance only within one.
            axis.add_collection3d(Poly3DCollection(triangles, facecolors=colours, edgecolors=colours, linewidths=0.2))
    panels.legend(figure, class_names)
    for text in figure.legends[0].get_texts():
        text.set(color="white", fontsize=13)
    return figure


def _check(image: Volume, masks: Sequence[Volume], class_names: Sequence[str]) -> None:
    for volume in (image, *masks):
        if volume.n_channels != len(class_names):
            raise errors.ChannelError(volume.name, volume.n_channels, f"but there are {len(class_names)} classes")
        if volume.shape != image.shape:
            raise errors.ShapeMismatchError(volume.name, volume.shape, image.name, image.shape)


def _scenes(n_panels: int, sides: np.ndarray) -> tuple[Figure, list[Axes3D]]:
    """Return a dark figure of panels that all see a box (sides x, y, z) from one place, its edges drawn."""
    n_rows = math.ceil(n_panels / MOST_COLUMNS)
    n_columns = math.ceil(n_panels / n_rows)
    trial = _scene(Figure(), (0, 0, 1, 1), sides, zoom=1)
    spread = np.ptp(_seen(_corners(sides), _matrix(trial))[:, :2], axis=0)
    zoom = 0.9 * trial.viewLim.width / spread.max()
    width, height = PANEL_INCHES * spread / spread.max()
    size = np.array((n_columns * width + 2 * MARGIN_INCHES, n_rows * (height + MARGIN_INCHES) + MARGIN_INCHES))
    figure = Figure(figsize=size, dpi=150, facecolor="black")
    axes = []
    for k in range(n_panels):
        row, column = divmod(k, n_columns)
        right, down = column * width + MARGIN_INCHES, row * (height + MARGIN_INCHES) + MARGIN_INCHES
        middle = np.array((right + width / 2, size[1] - down - height / 2))
        # Axes3D are square; those of a flat box reach into the rows above and below, and show nothing there.
        low = (middle - PANEL_INCHES / 2) / size
        axis = _scene(figure, (*low, *(PANEL_INCHES / size)), sides, zoom)
        above = 0.5 + height / PANEL_INCHES / 2
        axis.set_title("", y=above, color="white", fontsize=14)
        axis.title.set_y(above)  # Axes3D put it lower than they are told.
        axes.append(axis)
    return figure, axes


def _scene(figure: Figure, place: Sequence[float], sides: np.ndarray, zoom: float) -> Axes3D:
    axis = figure.add_axes(place, projection="3d", proj_type="ortho", computed_zorder=False)
    axis.set_axis_off()
    axis.patch.set_visible(False)
    axis.view_init(ELEVATION, AZIMUTH)
    x, y, z = sides
    # Y to the front and Z downwards: two axes turned round are a rotation, one would be a mirror.
    axis.set(xlim=(0, x), ylim=(y, 0), zlim=(z, 0))
    axis.set_box_aspect(tuple(sides), zoom=zoom)  # An array it would change.
    corners = _corners(sides)
    farthest = _seen(corners, _matrix(axis))[:, 2].argmax()
    for (one, start), (other, end) in itertools.combinations(enumerate(corners), 2):
        if np.count_nonzero(start != end) == 1:
            order = 1 if farthest in (one, other) else 4  # Behind the objects, or before them.
            axis.plot(*zip(start, end, strict=True), color="0.5", linewidth=0.6, zorder=order)
    return axis


def _corners(sides: np.ndarray) -> np.ndarray:
    return np.array(list(itertools.product(*((0, side) for side in sides))), dtype=float)


def _label_edges(axis: Axes3D, sides: np.ndarray, unit: str) -> None:
    x, y, z = sides
    style = {"color": "0.75", "fontsize": 10}
    axis.text(x / 2, y, z, f"x {x:.4g} {unit}", ha="right", va="top", **style)
    axis.text(x, y / 2, z, f" y {y:.4g} {unit}", ha="left", va="top", **style)
    axis.text(0, y, z / 2, f"z {z:.4g} \n{unit} ", ha="right", va="center", **style)


def _matrix(axis: Axes3D) -> np.ndarray:
    """Return the 4x4 matrix from (x, y, z, 1) to (right, up, away, 1) in the coordinates of a panel."""
    matrix = axis.get_proj()
    return matrix / matrix[3, 3]


def _seen(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return where points (..., 3), x, y, z, are seen: right, up, away."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _reduced(array: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Return the means (ZYXC float32) over blocks that are as nearly cubes, and as many, as `MOST_VOXELS` allows."""
    block = (np.prod(sides) / MOST_VOXELS) ** (1 / 3)
    for axis, side in enumerate(sides[::-1]):
        length = array.shape[axis]
        n_blocks = min(length, math.ceil(round(side / block, 6)))  # 5.0000001 blocks are 5.
        # All voxels count: where the length is no multiple, some blocks are one voxel longer.
        starts = np.arange(n_blocks) * length // n_blocks
        lengths = np.diff(starts, append=length).astype(np.float32)
        array = np.add.reduceat(array, starts, axis=axis, dtype=np.float32)
        array /= lengths.reshape([-1 if k == axis else 1 for k in range(4)])
    return array


def _maximum_projection(
    grid: np.ndarray, sides: np.ndarray, matrix: np.ndarray
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """Return the greatest values along the line of sight (YXC) and where they lie: left, right, bottom, top."""
    seen = _seen(_corners(sides), matrix)[:, :2]
    low, high = seen.min(axis=0), seen.max(axis=0)
    pixel = (high - low).max() / PROJECTION_PIXELS
    n_columns, n_rows = np.ceil((high - low) / pixel).astype(int)
    spacing = sides / grid.shape[2::-1]
    # Of one plane, (row, column) of a pixel lead to (y, x) in the grid; other planes are shifted.
    to_plane = np.linalg.inv(matrix[:2, :2]) / spacing[:2, np.newaxis]
    turn = (to_plane @ ((0, pixel), (-pixel, 0)))[::-1]
    # Planes between those of the grid, an odd number so that these are among them, or their edges would show.
    n_between = 2 * math.ceil(spacing[2] / spacing[:2].min() / 2) + 1
    greatest = np.zeros((n_rows, n_columns, grid.shape[3]), np.float32)
    for z in (np.arange(grid.shape[0] * n_between) + 0.5) / n_between - 0.5:
        start = (low[0] + pixel / 2, high[1] - pixel / 2) - matrix[:2, 2] * (z + 0.5) * spacing[2] - matrix[:2, 3]
        below, share = divmod(np.clip(z, 0, grid.shape[0] - 1), 1)
        plane = (1 - share) * grid[int(below)] + share * grid[min(int(below) + 1, grid.shape[0] - 1)]
        options = {"offset": (to_plane @ start)[::-1] - 0.5, "order": 1, "mode": "grid-constant"}
        for k in range(grid.shape[3]):
            values = affine_transform(plane[..., k], turn, output_shape=(n_rows, n_columns), **options)
            np.maximum(greatest[..., k], values, out=greatest[..., k])
    return greatest, (low[0], low[0] + n_columns * pixel, high[1] - n_rows * pixel, high[1])


def _lit_surfaces(
    mask: np.ndarray, sides: np.ndarray, matrix: np.ndarray, class_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the triangles (n, 3, 3) of all classes' surfaces that face the viewer, and their colours (n, 3)."""
    grid = _reduced(mask != 0, sides)
    away = np.linalg.inv(matrix)[:3, 2]
    one_block = away / np.linalg.norm(away) * (sides / grid.shape[2::-1]).max()
    n_rarer = np.argsort(np.argsort(grid.sum(axis=(0, 1, 2))))
    found, colours = [], []
    for k, colour in enumerate(picture_colours(class_names)):
        triangles, normals = _surface(grid[..., k], sides)
        front = np.linalg.det(np.diff(_seen(triangles, matrix)[..., :2], axis=1)) > 0
        # Where two classes end in one place, at the border above all, they would shine through each other in spots:
        # the commoner one is put a block behind. Without perspective, that changes only what hides what.
        found.append(triangles[front] + n_rarer[k] * one_block)
        colours.append(_lit(colour, triangles[front].mean(axis=1), normals[front], sides, matrix))
    return np.concatenate(found), np.concatenate(colours)


def _lit(
    colour: np.ndarray, places: np.ndarray, normals: np.ndarray, sides: np.ndarray, matrix: np.ndarray
) -> np.ndarray:
    """Return a colour (3,) as it looks in places (n, 3) of a surface with these normals (n, 3): (n, 3) in [0, 1]."""
    facing = normals @ matrix[:3, :3].T * (1, 1, -1)
    facing /= np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-12)
    depths = _seen(_corners(sides), matrix)[:, 2]
    nearness = (depths.max() - _seen(places, matrix)[:, 2:]) / np.ptp(depths)
    dull = (0.3 + 0.75 * np.clip(facing @ LIGHT, 0, 1))[:, np.newaxis] * (0.6 + 0.4 * nearness)
    gloss = 0.25 * np.clip(facing @ HALFWAY, 0, 1)[:, np.newaxis] ** 30
    return np.clip(dull * colour + gloss, 0, 1)


def _surface(grid: np.ndarray, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the closed surface of one class.

    Parameters
    ----------
    grid : ndarray of float, ZYX
        Share of object in each block, in [0, 1].
    sides : ndarray
        Of the box that the grid fills, (x, y, z).

    Returns
    -------
    triangles : ndarray of float, (n, 3, 3)
        Corners of each triangle, x, y, z, anticlockwise as seen from outside the object.
    normals : ndarray of float, (n, 3)
        Outward, of any length; those of the smoothed grid, since a surface between voxels is one of steps.
    """
    if not grid.any():
        return np.empty((0, 3, 3)), np.empty((0, 3))
    padded = np.pad(grid, 1)  # Closes objects cut by the border.
    # Specks that fill no half block would vanish, though there may be many.
    vertices, faces, _, _ = marching_cubes(padded, min(0.5, padded.max() / 2))
    smooth = gaussian_filter(padded, 1, mode="constant")
    spacing = sides / grid.shape[::-1]
    centres = vertices[faces].mean(axis=1).T
    slopes = np.gradient(smooth, *spacing[::-1])
    normals = [-map_coordinates(slope, centres, order=1) for slope in reversed(slopes)]
    corners = (vertices[:, ::-1] - 0.5) * spacing  # Voxel 1 of the padded grid spans 0 to 1.
    return corners[faces], np.stack(normals, axis=1)
