"""The pictures that the package draws, gathered for notebooks and scripts.

Each function returns a matplotlib ``Figure``, drawn without a display: a notebook shows it, ``savefig`` writes it.
Classes have colours that the colour-blind tell apart, and there are scale bars where the voxel size is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from tfcyclegan3d.experiments.contrast import contrast_figure as contrast
from tfcyclegan3d.experiments.figures import planes_figure as planes
from tfcyclegan3d.experiments.figures import renderings_figure as renderings
from tfcyclegan3d.inference.pictures import overview
from tfcyclegan3d.objects.figures import projection, vectors_over
from tfcyclegan3d.objects.figures import rose_diagrams as roses
from tfcyclegan3d.objects.measurements import opened
from tfcyclegan3d.synthesis.masks import SyntheticMasks
from tfcyclegan3d.synthesis.pictures import draw_beside, draw_masks
from tfcyclegan3d.volumes import Volume

__all__ = ["arrows", "beside", "choice_of_epoch", "contrast", "masks", "overview", "planes", "renderings", "roses"]


def masks(drawn: Mapping[str, SyntheticMasks]) -> Figure:
    """Draw each mask's projection along Z above the plane that shows most of it, every object in a shade of its own.

    Parameters
    ----------
    drawn : mapping of str to SyntheticMasks
        By title, in the order to show them in; all of the same classes.
    """
    return draw_masks([(title, one.scene, one.voxel_size_um) for title, one in drawn.items()])


def beside(volume: Volume, drawn: SyntheticMasks) -> Figure:
    """Draw a stack beside masks drawn for it: projections above middle planes.

    Parameters
    ----------
    volume : Volume
        The stack, one channel a class.
    drawn : SyntheticMasks
        Of the same shape.
    """
    return draw_beside(volume, drawn.scene)


def arrows(image: Volume, pairs: pd.DataFrame, class_names: Sequence[str]) -> Figure:
    """Draw the vectors of pairs as arrows over the mean of their stack along Z.

    Parameters
    ----------
    image : Volume
        The stack, one channel a class.
    pairs : pandas.DataFrame
        Of `pair_objects`.
    class_names : sequence of str
        One a channel.
    """
    seen, step = projection(opened(image))
    return vectors_over(seen, class_names, pairs, step, image.voxel_size_um)


def choice_of_epoch(run: str | Path) -> Figure:
    """Draw by what a run chose the epoch whose networks it kept, over the epochs; see `training.run_figures`.

    Parameters
    ----------
    run : str or Path
        A run folder.

    Raises
    ------
    ModelError
        If the folder holds no run, or none that finished an epoch.
    """
    from tfcyclegan3d.training.run_figures import choice_figure  # Here, since the other pictures need no TensorFlow.

    return choice_figure(run)
