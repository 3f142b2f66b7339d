"""Which nucleus belongs to which Golgi, and in which direction it looks."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree

from tfcyclegan3d import errors
from tfcyclegan3d.objects.measurements import AXES, direction

FROM, TO = "nuclei", "golgi"


def pair_objects(
    objects: pd.DataFrame, first: str = FROM, second: str = TO, max_distance: float | None = None
) -> pd.DataFrame:
    """Pair the objects of two classes, one with one, so that the sum of the distances between centres is least.

    An object without a partner counts as much as a pair of ``max_distance``: there is no pair beyond it, and as many
    as possible below it are made where that shortens the sum.

    Parameters
    ----------
    objects : pandas.DataFrame
        Of `measure_objects`.
    first, second : str
        The classes. Vectors lead from the first's centres to the second's.
    max_distance : float, optional
        Greatest distance between the centres of a pair, in the table's unit. Without it, the median diameter of the
        first class (of a ball of the same volume).

    Returns
    -------
    pandas.DataFrame
        One row per pair, with the columns of `pair_columns`; ``attrs`` holds ``unit``, ``max_distance``,
        ``n_unpaired`` (by class), ``first`` and ``second``.

    Raises
    ------
    OptionError
        For one class given twice, or a distance that is none. A class that the table does not hold has no pairs.
    """
    unit = objects.attrs.get("unit") or ("um" if "volume_um3" in objects.columns else "voxels")
    if first == second:
        raise errors.OptionError("pairs", f"{first},{second}", "name two different classes")
    if max_distance is not None and not 0 < max_distance < np.inf:
        raise errors.OptionError("--max-distance", max_distance, "give a length above 0")
    ones, others = (objects[objects["class"] == name] for name in (first, second))
    if max_distance is None:
        max_distance = float(ones[f"diameter_{unit}"].median()) if len(ones) else 0.0
    centres = [table[[f"centre_{axis}_{unit}" for axis in AXES]].to_numpy(float) for table in (ones, others)]
    rows, partners = assign(*centres, max_distance)
    pairs = _table(ones.iloc[rows], others.iloc[partners], unit)
    pairs.attrs |= {
        "unit": unit,
        "max_distance": max_distance,
        "n_unpaired": {first: len(ones) - len(pairs), second: len(others) - len(pairs)},
        "first": first,
        "second": second,
    }
    return pairs


def assign(ones: np.ndarray, others: np.ndarray, max_distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of least total distance, as indices into both, where none costs ``max_distance``.

    Parameters
    ----------
    ones, others : ndarray of float, (n, d) and (m, d)
        Points.
    max_distance : float
        No pair is longer.

    Returns
    -------
    rows, partners : ndarray of int
        Of equal lengths, in the order of ``rows``.
    """
    nothing = np.zeros(0, int), np.zeros(0, int)
    if not len(ones) or not len(others) or max_distance <= 0:
        return nothing
    near = cKDTree(ones).sparse_distance_matrix(cKDTree(others), max_distance, output_type="coo_matrix")
    if near.nnz == 0:
        return nothing
    # Each of the first has a stand-in of its own, which costs as much as the longest pair. SciPy takes a weight of 0
    # for no edge, and as all of the first get a partner, one more for every edge changes nothing.
    every = np.arange(len(ones))
    weights = np.concatenate([near.data, np.full(len(ones), max_distance)]) + 1.0
    row = np.concatenate([near.row, every])
    column = np.concatenate([near.col, len(others) + every])
    graph = csr_matrix((weights, (row, column)), shape=(len(ones), len(others) + len(ones)))
    rows, partners = min_weight_full_bipartite_matching(graph)
    real = partners < len(others)
    return rows[real], partners[real]


def pair_columns(unit: str) -> list[str]:
    """Return the columns of a table of pairs."""
    return [
        "first",
        "first_label",
        "second",
        "second_label",
        *(f"start_{axis}" for axis in AXES),
        *(f"end_{axis}" for axis in AXES),
        *(f"vector_{axis}_{unit}" for axis in AXES),
        f"length_{unit}",
        "azimuth_degrees",
        "elevation_degrees",
        "touches_border",
    ]


def _table(ones: pd.DataFrame, others: pd.DataFrame, unit: str) -> pd.DataFrame:
    in_voxels, in_unit = [f"centre_{axis}" for axis in AXES], [f"centre_{axis}_{unit}" for axis in AXES]
    start, end = ones[in_voxels].to_numpy(float), others[in_voxels].to_numpy(float)
    vectors = others[in_unit].to_numpy(float) - ones[in_unit].to_numpy(float)
    angles = np.array([direction(vector) for vector in vectors]).reshape(-1, 2)
    figures = [start, end, vectors, np.linalg.norm(vectors, axis=1)[:, np.newaxis], angles]
    values = np.concatenate(figures, axis=1)
    table = pd.DataFrame(values, columns=pair_columns(unit)[4:-1])
    for place, name, column in (
        (0, "first", ones["class"]),
        (1, "first_label", ones["label"]),
        (2, "second", others["class"]),
        (3, "second_label", others["label"]),
    ):
        table.insert(place, name, column.to_numpy())
    table["touches_border"] = ones["touches_border"].to_numpy(bool) | others["touches_border"].to_numpy(bool)
    return table


@dataclass(frozen=True)
class Polarity:
    """Whether the directions of a table of pairs agree.

    Parameters
    ----------
    n : int
        Vectors of a length above 0.
    mean_azimuth_degrees : float
        Direction of the sum of their unit vectors in the XY plane, in (-180, 180]; NaN without one.
    resultant_length : float
        Length of the mean of these unit vectors, in [0, 1]: 0 for directions that cancel out, 1 for a single one.
    p_value : float
        Of Rayleigh's test: how often directions that are uniform on the circle agree as much; NaN without a vector.
    resultant_length_3d, p_value_3d : float
        The same in space, against directions that are uniform on the sphere.
    median_length : float
        In the table's unit.
    """

    n: int
    mean_azimuth_degrees: float
    resultant_length: float
    p_value: float
    resultant_length_3d: float
    p_value_3d: float
    median_length: float

    def to_dict(self) -> dict[str, float]:
        """Return the fields as plain numbers."""
        return asdict(self)


def polarity(pairs: pd.DataFrame) -> Polarity:
    """Summarize the directions of pairs.

    Parameters
    ----------
    pairs : pandas.DataFrame
        Of `pair_objects`.

    Notes
    -----
    With R the length of the sum of n unit vectors, the circular test's p is
    exp(sqrt(1 + 4 n + 4 (n^2 - R^2)) - (1 + 2 n)) [1]_ [2]_, and the spherical one's the upper tail of chi squared with
    3 degrees of freedom at 3 R^2 / n, with the correction to order 1 / n [3]_.

    References
    ----------
    .. [1] J. H. Zar, Biostatistical Analysis, 4th edition, 1999, page 617, as [2]_ cites it
    .. [2] P. Berens, "CircStat: A MATLAB Toolbox for Circular Statistics", J. Stat. Softw. 31(10), 2009,
           doi:10.18637/jss.v031.i10
    .. [3] P. E. Jupp, "Modifications of the Rayleigh and Bingham tests for uniformity of directions", J. Multivar.
           Anal. 77(2), 1-20, 2001
    """
    unit = pairs.attrs.get("unit") or ("um" if "length_um" in pairs.columns else "voxels")
    lengths = pairs[f"length_{unit}"].to_numpy(float)
    vectors = pairs[[f"vector_{axis}_{unit}" for axis in AXES]].to_numpy(float)[lengths > 0]
    median = float(np.median(lengths)) if len(lengths) else float("nan")
    in_plane = vectors[:, 1:][np.linalg.norm(vectors[:, 1:], axis=1) > 0]
    flat, solid = _mean_direction(in_plane), _mean_direction(vectors)
    azimuth = float(np.degrees(np.arctan2(flat[0], flat[1]))) if len(in_plane) else float("nan")
    return Polarity(
        n=len(vectors),
        mean_azimuth_degrees=azimuth,
        resultant_length=float(np.linalg.norm(flat)),
        p_value=rayleigh_circle(len(in_plane), float(np.linalg.norm(flat))),
        resultant_length_3d=float(np.linalg.norm(solid)),
        p_value_3d=rayleigh_sphere(len(vectors), float(np.linalg.norm(solid))),
        median_length=median,
    )


def rayleigh_circle(n: int, resultant_length: float) -> float:
    """Return the p-value of Rayleigh's test on the circle, of ``n`` directions of this mean resultant length."""
    if n == 0:
        return float("nan")
    total = n * resultant_length
    return float(min(1.0, np.exp(np.sqrt(1 + 4 * n + 4 * (n**2 - total**2)) - (1 + 2 * n))))


def rayleigh_sphere(n: int, resultant_length: float) -> float:
    """Return the p-value of Rayleigh's test on the sphere, of ``n`` directions of this mean resultant length."""
    from scipy.stats import chi2

    if n == 0:
        return float("nan")
    s = 3 * n * resultant_length**2
    return float(chi2.sf((1 - 1 / (2 * n)) * s + s**2 / (10 * n), df=3))


def _mean_direction(vectors: np.ndarray) -> np.ndarray:
    """Return the mean of unit vectors; nought where there is none."""
    if not len(vectors):
        return np.zeros(vectors.shape[1])
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).mean(axis=0)
