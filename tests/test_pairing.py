"""Pairs of least distance, the directions they have, and what statistics make of them."""

from __future__ import annotations

import itertools
import json
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tfcyclegan3d import errors
from tfcyclegan3d.objects.analysis import analyse, save
from tfcyclegan3d.objects.figures import rose_diagrams, vectors_over
from tfcyclegan3d.objects.measurements import measure_objects
from tfcyclegan3d.objects.pairing import (
    assign,
    pair_columns,
    pair_objects,
    polarity,
    rayleigh_circle,
    rayleigh_sphere,
)
from tfcyclegan3d.objects.tables import check_format, points_for_napari, vectors_for_napari

from .blobs import needs_pyarrow


def numbered(nuclei, golgi, shape=(9, 40, 40)):
    """Return labels with a voxel at every centre."""
    labels = np.zeros((*shape, 2), int)
    for channel, centres in ((1, nuclei), (0, golgi)):
        for number, centre in enumerate(centres, 1):
            labels[(*centre, channel)] = number
    return labels


def pairs_of(vectors):
    """Return a table of pairs of these vectors (z, y, x), in micrometres."""
    vectors = np.asarray(vectors, float)
    table = pd.DataFrame(vectors, columns=[f"vector_{axis}_um" for axis in "zyx"])
    table["length_um"] = np.linalg.norm(vectors, axis=1)
    table["azimuth_degrees"] = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 2]))
    return table


# ---- assignment


def best_by_trying(distances, most):
    """Return the least total cost over every possible set of pairs, where none costs ``most``."""
    n, m = distances.shape
    best = n * most
    for size in range(1, min(n, m) + 1):
        for rows in itertools.combinations(range(n), size):
            for columns in itertools.permutations(range(m), size):
                each = distances[rows, columns]
                if (each <= most).all():
                    best = min(best, each.sum() + (n - size) * most)
    return best


@pytest.mark.parametrize("seed", range(6))
def test_no_other_pairs_are_nearer_in_total(seed):
    rng = np.random.default_rng(seed)
    ones, others = rng.random((4, 3)) * 10, rng.random((5, 3)) * 10
    distances = np.linalg.norm(ones[:, None] - others[None], axis=-1)
    rows, partners = assign(ones, others, 5.0)
    each = distances[rows, partners]
    assert (each <= 5.0).all()
    assert len(set(rows)) == len(rows) and len(set(partners)) == len(partners)
    assert each.sum() + (4 - len(rows)) * 5.0 == pytest.approx(best_by_trying(distances, 5.0))


def test_the_nearest_is_given_up_where_that_serves_the_others():
    rows, partners = assign(np.array([[0.0], [3.0]]), np.array([[2.0], [9.0]]), 10.0)
    assert dict(zip(rows, partners, strict=True)) == {0: 0, 1: 1}


def test_beyond_the_greatest_distance_there_is_no_partner():
    rows, partners = assign(np.zeros((1, 3)), np.full((1, 3), 4.0), 6.9)
    assert len(rows) == len(partners) == 0
    assert len(assign(np.zeros((1, 3)), np.full((1, 3), 4.0), 7.0)[0]) == 1


def test_centres_at_one_place_are_a_pair():
    rows, partners = assign(np.array([[1.0, 2.0], [5.0, 5.0]]), np.array([[5.0, 6.0], [1.0, 2.0]]), 3.0)
    assert dict(zip(rows, partners, strict=True)) == {0: 1, 1: 0}


def test_thousands_of_objects_are_paired_as_they_were_drawn():
    rng = np.random.default_rng(0)
    ones = np.stack(np.meshgrid(*[np.arange(17) * 10.0] * 3), axis=-1).reshape(-1, 3)
    order = rng.permutation(len(ones))
    rows, partners = assign(ones, (ones + rng.normal(0, 1, ones.shape))[order], 20.0)
    np.testing.assert_array_equal(order[partners], rows)
    assert len(rows) == len(ones) == 4913


# ---- vectors


def test_vectors_lead_from_nucleus_to_golgi_in_micrometres():
    labels = numbered(nuclei=[(4, 10, 10), (4, 30, 30)], golgi=[(4, 30, 24), (6, 10, 13)])
    pairs = pair_objects(measure_objects(labels, voxel_size_um=(2.0, 1.0, 1.0)), max_distance=8)
    assert pairs[["first", "first_label", "second", "second_label"]].to_numpy().tolist() == [
        ["nuclei", 1, "golgi", 2],
        ["nuclei", 2, "golgi", 1],
    ]
    vectors = pairs[["vector_z_um", "vector_y_um", "vector_x_um"]].to_numpy()
    np.testing.assert_allclose(vectors, [[4, 0, 3], [0, 0, -6]])
    np.testing.assert_allclose(pairs["length_um"], [5, 6])
    np.testing.assert_allclose(pairs["azimuth_degrees"], [0, 180])
    np.testing.assert_allclose(pairs["elevation_degrees"], [np.degrees(np.arcsin(4 / 5)), 0], atol=1e-9)
    assert pairs.attrs["n_unpaired"] == {"nuclei": 0, "golgi": 0}


def test_azimuths_turn_from_x_towards_y():
    pairs = pair_objects(measure_objects(numbered([(4, 10, 10)], [(4, 13, 10)])), max_distance=5)
    assert pairs["azimuth_degrees"].tolist() == [90]


def test_a_vector_along_z_has_no_azimuth_and_no_place_in_the_rose():
    pairs = pair_objects(measure_objects(numbered([(2, 10, 10)], [(5, 10, 10)])), max_distance=5)
    assert np.isnan(pairs["azimuth_degrees"]).all()
    assert pairs["elevation_degrees"].tolist() == [90]
    (axis,) = rose_diagrams({"one": pairs}).axes
    assert all(bar.get_height() == 0 for bar in axis.patches)
    assert not axis.texts
    assert axis.get_title() == "one\nn = 1, all along Z"


def test_objects_without_a_partner_are_counted():
    labels = numbered(nuclei=[(4, 10, 10), (4, 30, 30)], golgi=[(4, 12, 10)])
    pairs = pair_objects(measure_objects(labels), max_distance=5)
    assert len(pairs) == 1
    assert pairs.attrs["n_unpaired"] == {"nuclei": 1, "golgi": 0}


@pytest.mark.parametrize("nuclei", [[], [(4, 10, 10)]])
def test_without_golgi_there_is_an_empty_table_with_its_columns(nuclei):
    pairs = pair_objects(measure_objects(numbered(nuclei, [])))
    assert len(pairs) == 0
    assert pairs.columns.tolist() == pair_columns("voxels")
    found = polarity(pairs)
    assert found.n == 0
    assert np.isnan(found.p_value)


def test_a_class_is_not_paired_with_itself():
    with pytest.raises(errors.OptionError, match="two different classes"):
        pair_objects(measure_objects(np.zeros((3, 3, 3), int)), "nuclei", "nuclei")


def test_pairs_of_a_stack_of_one_class_are_refused_where_asked_for():
    labels = np.ones((3, 3, 3), int)
    assert analyse(labels).pairs is None
    with pytest.raises(errors.OptionError, match="the only class is nuclei"):
        analyse(labels, pair=("nuclei", "golgi"))


# ---- directions


def test_directions_that_agree_have_a_resultant_of_one_and_opposite_ones_of_nought():
    agreeing = polarity(pairs_of([[0, 1, 1], [0, 2, 2], [0, 5, 5]]))
    assert agreeing.resultant_length == pytest.approx(1)
    assert agreeing.resultant_length_3d == pytest.approx(1)
    assert agreeing.mean_azimuth_degrees == pytest.approx(45)
    opposite = polarity(pairs_of([[0, 1, 0], [0, -3, 0], [0, 0, 1], [0, 0, -1]]))
    assert opposite.resultant_length == pytest.approx(0, abs=1e-12)
    assert opposite.p_value == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("dimension", "test"), [(2, rayleigh_circle), (3, rayleigh_sphere)])
def test_directions_without_a_preference_are_called_one_as_often_as_the_test_says(dimension, test):
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(4000, 12, dimension))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    lengths = np.linalg.norm(vectors.mean(axis=1), axis=-1)
    p = np.array([test(12, length) for length in lengths])
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.012)
    assert stats.kstest(p, "uniform").statistic < 0.04


def test_vectors_of_no_length_have_no_direction():
    found = polarity(pairs_of([[0, 0, 0], [0, 0, 2], [3, 0, 0]]))
    assert found.n == 2
    assert found.resultant_length == pytest.approx(1)
    assert found.resultant_length_3d == pytest.approx(np.sqrt(0.5))
    assert found.median_length == 2


# ---- pictures and files


def test_a_rose_has_a_sector_for_every_direction_with_an_area_that_counts_them():
    pairs = pairs_of([[0, 1, 10]] * 9 + [[0, -10, 1]] * 4)
    figure = rose_diagrams({"found": pairs, "truth": pairs.iloc[:0]})
    found, truth = figure.axes
    heights = {round(np.degrees(bar.get_x() + bar.get_width() / 2), 1): bar.get_height() for bar in found.patches}
    assert {angle: height for angle, height in heights.items() if height} == {7.5: 3, -82.5: 2}
    assert "n = 13" in found.get_title()
    assert "no vectors" in truth.get_title()
    assert found.get_theta_direction() == -1  # As in the picture of a stack, Y points down.


def test_arrows_begin_at_the_nucleus_and_end_at_the_golgi():
    pairs = pair_objects(measure_objects(numbered([(4, 10, 10)], [(4, 16, 18)])), max_distance=20)
    figure = vectors_over(np.random.default_rng(0).random((40, 40, 2)), ("golgi", "nuclei"), pairs, 1, (1, 0.5, 0.5))
    (arrow,) = [text for text in figure.axes[0].texts if hasattr(text, "arrow_patch")]
    assert (arrow.xy, arrow.xyann) == ((18, 16), (10, 10))


def test_points_and_lines_are_what_napari_reads():
    labels = numbered(nuclei=[(4, 10, 10)], golgi=[(4, 16, 18), (0, 0, 0)])
    objects = measure_objects(labels, voxel_size_um=(2, 1, 1))
    points = points_for_napari(objects)
    assert points.columns.tolist() == ["index", "axis-0", "axis-1", "axis-2", "class", "label"]
    assert points.iloc[0].tolist() == [0, 4, 16, 18, "golgi", 1] or points.iloc[1].tolist()[:4] == [1, 4, 16, 18]
    lines = vectors_for_napari(pair_objects(objects, max_distance=20))
    assert lines.to_numpy().tolist() == [[0, "line", 0, 4, 10, 10], [0, "line", 1, 4, 16, 18]]
    assert lines.columns.tolist() == ["index", "shape-type", "vertex-index", "axis-0", "axis-1", "axis-2"]


def test_naparis_own_reader_opens_points_and_lines(tmp_path):
    read = pytest.importorskip("napari_builtins.io").csv_to_layer_data
    labels = numbered(nuclei=[(4, 10, 10), (4, 30, 30)], golgi=[(4, 16, 18), (4, 33, 30)])
    analysis = analyse(labels, max_distance=20)
    save(analysis, tmp_path, "cells", labels)
    points, features, kind = read(str(tmp_path / "cells_points.csv"))
    assert kind == "points"
    assert points.shape == (4, 3)
    assert set(features["properties"]["class"]) == {"golgi", "nuclei"}
    lines, features, kind = read(str(tmp_path / "cells_vectors.csv"))
    assert kind == "shapes"
    assert list(features["shape_type"]) == ["line", "line"]
    np.testing.assert_array_equal(lines, [[[4, 10, 10], [4, 16, 18]], [[4, 30, 30], [4, 33, 30]]])


@pytest.mark.parametrize("table_format", ["csv", "parquet"])
def test_tables_are_read_back_as_they_were(tmp_path, table_format):
    if table_format == "parquet":
        needs_pyarrow()
    labels = numbered(nuclei=[(4, 10, 10)], golgi=[(4, 16, 18)])
    analysis = analyse(labels, max_distance=20)
    written = save(analysis, tmp_path, "cells", labels, table_format=table_format)
    assert {path.name for path in tmp_path.iterdir()} == set(written)
    read = pd.read_csv if table_format == "csv" else pd.read_parquet
    for kind, table in (("objects", analysis.objects), ("pairs", analysis.pairs)):
        again = read(tmp_path / f"cells_{kind}.{table_format}")
        pd.testing.assert_frame_equal(again, table, rtol=1e-5, check_dtype=False)
    summary = json.loads((tmp_path / "cells_polarity.json").read_text())
    assert summary["n_pairs"] == 1
    assert summary["resultant_length"] == pytest.approx(1)


def test_without_pyarrow_parquet_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(errors.OptionError, match=r"pip install 'tfcyclegan3d\[parquet\]'"):
        check_format("parquet")
    check_format("csv")
