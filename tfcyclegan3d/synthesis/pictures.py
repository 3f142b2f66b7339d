"""Pictures of synthetic masks for a person to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tfcyclegan3d import panels
from tfcyclegan3d.synthesis.prior_values import Triple
from tfcyclegan3d.synthesis.scene import Scene
from tfcyclegan3d.volumes import Volume

# Multiples of the golden section, less whole numbers, spread evenly: neighbours in number differ most.
GOLDEN = 0.618034


def draw_masks(scenes: Sequence[tuple[str, Scene, Triple | None]]) -> Figure:
    """Draw each mask's projection along Z above the plane that shows most of it.

    Parameters
    ----------
    scenes : sequence of (str, Scene, voxel size in um or None)
        At least one, with its title.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(4 * len(scenes), 8.5), layout="constrained")
    axes = figure.subplots(2, len(scenes), squeeze=False)
    for column, (name, scene, voxel_size_um) in zip(axes.T, scenes, strict=True):
        _show_column(column, name, _views_of_scene(scene, _fullest_plane(scene)), scene.class_names, voxel_size_um)
    panels.legend(figure, scenes[0][1].class_names)
    return figure


def draw_beside(volume: Volume, scene: Scene) -> Figure:
    """Draw a stack beside masks drawn for it: projections above middle planes.

    Parameters
    ----------
    volume : Volume
        The stack, one channel a class.
    scene : Scene
        Of the same shape.

    Returns
    -------
    matplotlib.figure.Figure
    """
    middle = volume.shape[0] // 2
    figure = Figure(figsize=(8.4, 8.5), layout="constrained")
    axes = figure.subplots(2, 2)
    stack = {"maximum projection": volume.array.max(axis=0), f"plane z = {middle}": volume.array[middle]}
    stack = {title: panels.display_range(view) for title, view in stack.items()}
    columns = {volume.name: stack, "drawn": _views_of_scene(scene, middle)}
    for column, (name, views) in zip(axes.T, columns.items(), strict=True):
        _show_column(column, name, views, scene.class_names, volume.voxel_size_um)
    panels.legend(figure, scene.class_names)
    return figure


def _fullest_plane(scene: Scene) -> int:
    covered = np.zeros(scene.shape[0])
    for one in scene.placed:
        covered[one.corner[0] : one.corner[0] + one.box[0]] += one.inside.sum(axis=(1, 2))
    return int(covered.argmax()) if covered.any() else scene.shape[0] // 2


def _views_of_scene(scene: Scene, plane: int) -> dict[str, np.ndarray]:
    """Return two views (YXC in [0, 1]) without painting the volume; each object has a shade of its own."""
    views = np.zeros((2, *scene.shape[1:], len(scene.class_names)), np.float32)
    for one in scene.placed:
        z, y, x = one.corner
        projection, section = views[:, y : y + one.box[1], x : x + one.box[2], one.channel]
        shade = 0.4 + 0.6 * (one.drawn.number * GOLDEN % 1)
        inside = one.inside
        projection[inside.any(axis=0)] = shade
        if z <= plane < z + one.box[0]:
            section[inside[plane - z]] = shade
    return {"projection": views[0], f"plane z = {plane}": views[1]}


def _show_column(
    column: Sequence, name: str, views: dict[str, np.ndarray], class_names: Sequence[str], voxel_size_um: Triple | None
) -> None:
    for axis, (title, view) in zip(column, views.items(), strict=True):
        panels.show(axis, view, class_names, f"{name}: {title}")
        if voxel_size_um is not None:
            panels.scale_bar(axis, view.shape[1], voxel_size_um[2])
