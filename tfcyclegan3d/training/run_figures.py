"""Figures of a finished run, for those who look at it from Python rather than in its report."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from tfcyclegan3d import errors
from tfcyclegan3d.training.report import RunData, agreement_curves
from tfcyclegan3d.training.run_folder import RunFolder


def choice_figure(run: str | Path) -> Figure:
    """Draw by what a run chose the epoch whose networks it kept, over the epochs.

    Parameters
    ----------
    run : str or Path
        A run folder.

    Returns
    -------
    Figure
        Of a CycleGAN the agreement of each epoch's masks with the mean of those of all epochs, of other methods the
        Dice coefficient of their validation; the epoch kept is a green band.

    Raises
    ------
    ModelError
        If the folder holds no run, or none that finished an epoch.
    """
    folder = RunFolder(Path(run))
    try:
        figure = agreement_curves(RunData.of(folder))
    except (OSError, ValueError, KeyError, errors.FileMissingError) as error:
        raise errors.ModelError(run, f"holds no finished run ({type(error).__name__})") from error
    if figure is None:
        raise errors.ModelError(run, "finished no epoch", "train longer")
    return figure
