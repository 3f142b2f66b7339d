"""The tables hold what a reader with a pencil would get, and the paper's figures as the paper prints them."""

from __future__ import annotations

import csv
import io
import math

import pytest

from tfcyclegan3d.experiments.tables import (
    PAPER_HOURS,
    PAPER_SCORES,
    Cell,
    as_csv,
    as_markdown,
    score_rows,
    table_one,
    table_two,
)


def scores(dice, precision, recall):
    return {"dice": dice, "precision": precision, "recall": recall}


def a_cell(method="cyclegan", fold=0, seed=0, *, training=0.0, masks=0.0, n_labelled=0, **of_classes):
    return Cell(method, fold, seed, of_classes or {"nuclei": scores(0.5, 0.5, 0.5)}, training, masks, n_labelled)


def of_method(rows, method):
    (row,) = (row for row in rows if row["method"] == method)
    return row


# --- the paper


def test_the_papers_scores_are_those_of_its_table_two():
    # Its columns: Dice of nuclei and Golgi, precision of both, recall of both.
    printed = {
        "unet": (0.7756, 0.6834, 0.8055, 0.7248, 0.7773, 0.7353),
        "vox2vox": (0.7947, 0.5993, 0.8079, 0.6886, 0.8077, 0.6829),
        "cyclegan": (0.7807, 0.6773, 0.7497, 0.6290, 0.8433, 0.8001),
    }
    held = {
        method: tuple(classes[kind][k] for k in range(3) for kind in ("nuclei", "golgi"))
        for method, classes in PAPER_SCORES.items()
    }
    assert held == printed


def test_the_papers_hours_add_up_to_those_it_prints():
    totals = {method: sum(hours) for method, hours in PAPER_HOURS.items()}
    assert {method: round(total, 1) for method, total in totals.items()} == {
        "unet": 169.1,  # 84 h x 2 + 66 min
        "vox2vox": 169.2,  # 84 h x 2 + 74 min
        "cyclegan": 29.3,  # 40 min + 28.6 h
    }
    # Its conclusion: "about 5.78 times faster" than either.
    for method in ("unet", "vox2vox"):
        assert round(totals[method] / totals["cyclegan"], 2) == 5.78


# --- table II


def test_means_and_deviations_of_three_folds_are_those_by_hand():
    cells = [a_cell(fold=k, nuclei=scores(dice, 0.5, 1.0)) for k, dice in enumerate((0.6, 0.7, 0.95))]
    (row,) = table_two(cells)
    assert (row["method"], row["class"], row["cells"]) == ("cyclegan", "nuclei", 3)
    # 2.25 / 3; from it -0.15, -0.05 and 0.2, whose squares are 0.065 in all, over 3 - 1.
    assert row["dice"] == pytest.approx(0.75)
    assert row["dice_std"] == pytest.approx(math.sqrt(0.0325))
    assert (row["precision"], row["precision_std"]) == (0.5, 0)
    assert (row["recall"], row["recall_std"]) == (1, 0)
    assert (row["dice_paper"], row["precision_paper"], row["recall_paper"]) == (0.7807, 0.7497, 0.8433)


def test_seeds_count_as_folds_do_and_methods_and_classes_each_for_themselves():
    cells = [
        a_cell("unet", 0, 0, nuclei=scores(0.2, 0.3, 0.4), golgi=scores(0.1, 0.1, 0.1)),
        a_cell("cyclegan", 0, 0, nuclei=scores(0.9, 0.9, 0.9), golgi=scores(0.8, 0.8, 0.8)),
        a_cell("unet", 0, 1, nuclei=scores(0.4, 0.5, 0.6), golgi=scores(0.3, 0.3, 0.3)),
    ]
    rows = table_two(cells)
    assert [(row["method"], row["class"], row["cells"]) for row in rows] == [
        ("unet", "nuclei", 2),
        ("unet", "golgi", 2),
        ("cyclegan", "nuclei", 1),
        ("cyclegan", "golgi", 1),
    ]
    found = [(row["dice"], row["precision"], row["recall"]) for row in rows]
    assert found[0] == pytest.approx((0.3, 0.4, 0.5)) and found[1] == pytest.approx((0.2,) * 3)
    assert rows[0]["dice_std"] == pytest.approx(math.sqrt(0.02))
    assert found[2:] == [(0.9,) * 3, (0.8,) * 3]


def test_one_cell_has_no_deviation_and_a_method_or_class_unknown_to_the_paper_no_figure_of_it():
    cells = [a_cell("otsu"), a_cell("unet", mitochondria=scores(0.1, 0.2, 0.3))]
    for row in table_two(cells):
        assert row["dice_std"] is row["precision_std"] is row["recall_std"] is None
        assert row["dice_paper"] is row["precision_paper"] is row["recall_paper"] is None


def test_every_cell_has_a_row_a_class_with_folds_counted_from_one():
    cells = [a_cell("unet", 2, 7, training=3.0, masks=1.5, nuclei=scores(0.1, 0.2, 0.3), golgi=scores(0.4, 0.5, 0.6))]
    one, other = score_rows(cells)
    assert (one["class"], one["dice"], one["precision"], one["recall"]) == ("nuclei", 0.1, 0.2, 0.3)
    assert (other["class"], other["dice"], other["precision"], other["recall"]) == ("golgi", 0.4, 0.5, 0.6)
    for row in (one, other):
        assert (row["method"], row["fold"], row["seed"], row["verdict"]) == ("unet", 3, 7, "finished")
        assert (row["training_minutes"], row["mask_minutes"]) == (3.0, 1.5)


# --- table I


def test_the_times_of_the_paper_give_its_table_one():
    cells = [
        a_cell("unet", training=66, n_labelled=2),
        a_cell("vox2vox", training=74, n_labelled=2),
        a_cell("cyclegan", training=28.6 * 60, masks=40),
    ]
    rows = table_one(cells)
    assert [round(row["total_hours"], 1) for row in rows] == [169.1, 169.2, 29.3]
    assert [row["total_hours_paper"] for row in rows] == pytest.approx([row["total_hours"] for row in rows])
    assert [row["labelling_hours"] for row in rows] == [168, 168, 0]
    assert [round(row["times_the_least"], 2) for row in rows] == [5.78, 5.78, 1]


def test_hours_are_means_over_folds_and_seeds_and_labelling_those_of_the_stacks_with_a_truth():
    cells = [
        a_cell("unet", 0, training=30, n_labelled=4),
        a_cell("unet", 1, training=90, n_labelled=5),
        a_cell("cyclegan", 0, training=120, masks=15),
        a_cell("cyclegan", 1, training=240, masks=45),
    ]
    rows = table_one(cells, labelling_hours=10)
    own, other = of_method(rows, "unet"), of_method(rows, "cyclegan")
    assert (own["training_hours"], own["masks_hours"], own["labelling_hours"], own["total_hours"]) == (1, 0, 45, 46)
    assert (other["training_hours"], other["masks_hours"], other["labelling_hours"]) == (3, 0.5, 0)
    assert (own["times_the_least"], other["times_the_least"]) == (pytest.approx(46 / 3.5), 1)
    # The paper's own stay as printed, whatever labelling takes here.
    assert own["total_hours_paper"] == pytest.approx(168 + 1.1)


def test_what_needs_no_training_is_compared_with_nothing_and_is_not_the_least():
    rows = table_one([a_cell("otsu"), a_cell("cyclegan", training=60), a_cell("unet", training=30, n_labelled=1)])
    otsu, cyclegan, unet = rows
    assert otsu["total_hours"] == 0 and otsu["times_the_least"] is otsu["total_hours_paper"] is None
    assert (cyclegan["times_the_least"], unet["times_the_least"]) == (1, 84.5)
    (alone,) = table_one([a_cell("otsu")])
    assert alone["times_the_least"] is None


# --- files


@pytest.mark.parametrize("make", [table_one, table_two, score_rows])
def test_no_cells_make_no_rows_and_no_rows_an_empty_file(make):
    assert make([]) == []
    assert as_csv(make([])) == as_markdown(make([])) == ""


@pytest.mark.parametrize("make", [table_one, table_two, score_rows])
def test_a_csv_reads_back_to_the_very_numbers_with_nothing_where_there_is_none(make):
    cells = [
        a_cell("otsu", nuclei=scores(1 / 3, 0.1, 0.7)),
        a_cell("cyclegan", training=100 / 7, masks=0.1, nuclei=scores(2 / 3, 0.2, 0.9)),
    ]
    rows = make(cells)
    read = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert [list(row) for row in read] == [list(row) for row in rows]
    for text, held in zip(read, rows, strict=True):
        for key, value in held.items():
            if value is None:
                assert text[key] == ""
            else:
                assert type(value)(text[key]) == value
    assert make is score_rows or any(None in row.values() for row in rows)


def test_a_markdown_table_has_deviations_beside_means_and_numbers_to_the_right():
    cells = [
        a_cell("unet", 0, nuclei=scores(0.5, 0.5, 0.5)),
        a_cell("unet", 1, nuclei=scores(0.7, 0.5, 0.5)),
        a_cell("otsu", 0, nuclei=scores(0.25, 0.5, 0.5)),
    ]
    head, rule, unet, otsu = as_markdown(table_two(cells)).splitlines()
    columns = ["method", "class", "cells"]
    columns += [f"{measure}{end}" for measure in ("dice", "precision", "recall") for end in ("", " paper")]
    assert [name.strip() for name in head.strip("|").split("|")] == columns
    assert rule == "| --- | --- |" + " ---: |" * 7
    assert unet == ("| unet | nuclei | 2 | 0.600 ± 0.141 | 0.776 | 0.500 ± 0.000 | 0.805 | 0.500 ± 0.000 | 0.777 |")
    assert otsu == "| otsu | nuclei | 1 | 0.250 |  | 0.500 |  | 0.500 |  |"


def test_a_markdown_table_is_rounded_as_asked():
    assert "| 0.60 ± 0.14 | 0.78 |" in as_markdown(
        table_two([a_cell("unet", k, nuclei=scores(dice, 1.0, 1.0)) for k, dice in enumerate((0.5, 0.7))]), digits=2
    )
