"""A picture of synthetic masks for a person to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tfcyclegan3d.colours import picture_colours
from tfcyclegan3d.synthesis.masks import SyntheticMasks


def draw_masks(masks: Sequence[SyntheticMasks], class_names: Sequence[str]) -> Figure:
    """Draw each mask's maximum projection along z above its middle slice.

    Parameters
    ----------
    masks : sequence of SyntheticMasks
        At least one.
    class_names : sequence of str
        One a channel.

    Returns
    -------
    matplotlib.figure.Figure
    """
    colours = picture_colours(class_names)
    figure = Figure(figsize=(4 * len(masks), 8.5), layout="constrained")
    axes = figure.subplots(2, len(masks), squeeze=False)
    for column, mask in zip(axes.T, masks, strict=True):
        middle = mask.shape[0] // 2
        views = {"maximum projection": mask.array.max(axis=0), f"slice z = {middle}": mask.array[middle]}
        for panel, (title, view) in zip(column, views.items(), strict=True):
            panel.imshow(np.clip(view @ colours, 0, 1), interpolation="nearest")
            panel.set_title(f"{mask.name}: {title}", fontsize=9)
            panel.set_axis_off()
    legend = [Patch(color=colour * 0.85, label=name) for name, colour in zip(class_names, colours, strict=True)]
    figure.legend(handles=legend, loc="outside lower center", ncols=len(class_names), frameon=False)
    return figure
