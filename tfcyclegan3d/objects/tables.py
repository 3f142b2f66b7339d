"""Tables on disk: objects and pairs as CSV or Parquet, points and vectors as napari opens them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tfcyclegan3d import errors
from tfcyclegan3d.objects.measurements import AXES

FORMATS = ("csv", "parquet")
_AXES_OF_NAPARI = [f"axis-{k}" for k in range(len(AXES))]


def check_format(name: str) -> None:
    """Check that tables can be written in a format.

    Raises
    ------
    OptionError
        Where the package that it needs is not installed.
    """
    if name == "parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise errors.OptionError(
                "--format", name, "install pyarrow (pip install 'tfcyclegan3d[parquet]'), or write csv"
            ) from error


def save_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table, as CSV or Parquet by its ending.

    Raises
    ------
    OptionError, OutputError
    """
    path = Path(path)
    with errors.writing(path):
        if path.suffix == ".parquet":
            check_format("parquet")
            table.to_parquet(path, engine="pyarrow", index=False)
        else:
            table.to_csv(path, index=False, float_format="%.6g")


def points_for_napari(objects: pd.DataFrame) -> pd.DataFrame:
    """Return the centres of objects in the layout of napari's own CSV files of points.

    Coordinates are voxels: give the layer the ``scale`` of the others.
    """
    points = objects[[f"centre_{axis}" for axis in AXES]].set_axis(_AXES_OF_NAPARI, axis=1).reset_index(drop=True)
    points.insert(0, "index", np.arange(len(points)))
    return points.assign(**{name: objects[name].to_numpy() for name in ("class", "label")})


def vectors_for_napari(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the vectors of pairs in the layout of napari's own CSV files of shapes, each a line from centre to centre.

    napari has a layout of its own for points and shapes, none for its vectors layer; lines are what it opens.
    """
    ends = [pairs[[f"{end}_{axis}" for axis in AXES]].to_numpy(float) for end in ("start", "end")]
    vertices = np.stack(ends, axis=1).reshape(-1, 3)
    n = len(pairs)
    lines = pd.DataFrame(
        {
            "index": np.repeat(np.arange(n), 2),
            "shape-type": np.full(2 * n, "line", object),
            "vertex-index": np.tile([0, 1], n),
        }
    )
    return lines.assign(**{name: vertices[:, k] for k, name in enumerate(_AXES_OF_NAPARI)})
