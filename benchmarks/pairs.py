"""Pairs and polarity found in masks of simulated stacks, against the pairs that were drawn.

Masks are the truth, and the truth with an outline that is uncertain: one voxel more or less, at random places. A pair
found is right where most of both of its objects are the two of one pair drawn. A drawn pair counts where both objects
are in the stack.

    python benchmarks/pairs.py --stacks 4 --run RUN

With a run, trained on other stacks that ``simulate`` makes, also the masks that it predicts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage

import tfcyclegan3d as tc
from tfcyclegan3d.objects.analysis import analyse
from tfcyclegan3d.objects.instances import label_objects
from tfcyclegan3d.synthesis.prior import NUCLEI_AND_GOLGI
from tfcyclegan3d.synthesis.simulation import simulate_stack

SHAPE = (56, 256, 256)


def uncertain(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a mask (ZYX) whose outline is moved by up to a voxel, in patches of a few voxels."""
    depth = np.where(mask, ndimage.distance_transform_edt(mask), -ndimage.distance_transform_edt(~mask))
    shift = ndimage.gaussian_filter(rng.normal(size=mask.shape), 2)
    return depth + shift / shift.std() > 0


def true_numbers(labels: np.ndarray, truth: np.ndarray) -> dict[int, int]:
    """Return, for each object found, the number drawn in most of its voxels."""
    return {
        number: int(np.bincount(truth[labels == number]).argmax()) for number in np.unique(labels[labels > 0]).tolist()
    }


def figures(mask: np.ndarray, truth: np.ndarray) -> tuple[int, int, int, list[float]]:
    """Return the pairs found, right and drawn of a stack (ZYXC), and the angle errors of the right ones in degrees."""
    classes = NUCLEI_AND_GOLGI.class_names
    diameters = [one.typical_diameter for one in NUCLEI_AND_GOLGI.objects]
    labels = np.stack([label_objects(mask[..., k], diameter=diameters[k]) for k in range(2)], axis=-1)
    found, drawn = analyse(labels, classes=classes), analyse(truth, classes=classes, max_distance=1e6)
    known = {name: true_numbers(labels[..., k], truth[..., k]) for k, name in enumerate(classes)}
    centres = drawn.objects.set_index(["class", "label"])[["centre_z", "centre_y", "centre_x"]]
    both = set(drawn.objects.query("`class` == 'golgi'")["label"]) & set(
        drawn.objects.query("`class` == 'nuclei'")["label"]
    )
    right: dict[int, float] = {}
    for row in found.pairs.to_dict("records"):
        nucleus, golgi = known["nuclei"][row["first_label"]], known["golgi"][row["second_label"]]
        if nucleus == golgi and nucleus in both and nucleus not in right:
            vector = np.array([row[f"vector_{axis}_voxels"] for axis in "zyx"])
            true = (centres.loc[("golgi", golgi)] - centres.loc[("nuclei", nucleus)]).to_numpy()
            cosine = vector @ true / (np.linalg.norm(vector) * np.linalg.norm(true))
            right[nucleus] = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return len(found.pairs), len(right), len(both), list(right.values())


def main() -> None:
    """Print a row for each kind of mask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stacks", type=int, default=4)
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--run", type=Path, help="of stacks with Golgi and nuclei")
    options = parser.parse_args()
    rows: dict[str, list[tuple[int, int, int, list[float]]]] = {"true mask": [], "uncertain outline": []}
    if options.run:
        model, rows["predicted"] = tc.load_model(options.run), []
    for index in range(options.stacks):
        stack = simulate_stack(SHAPE, seed=(options.seed, index))
        truth = stack.truth.objects.astype(np.int64)
        rng = np.random.default_rng((options.seed, index))
        rows["true mask"].append(figures(truth > 0, truth))
        moved = np.stack([uncertain(truth[..., k] > 0, rng) for k in range(2)], axis=-1)
        rows["uncertain outline"].append(figures(moved, truth))
        if options.run:
            rows["predicted"].append(figures(model.segment(stack.image).array > 0, truth))
    print("| mask | pairs drawn | found | precision | recall | median angle error |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, of_stacks in rows.items():
        n_found, n_right, n_drawn = (sum(row[k] for row in of_stacks) for k in range(3))
        angle = np.median([angle for row in of_stacks for angle in row[3]])
        shares = f"{n_right / n_found:.3f} | {n_right / n_drawn:.3f}"
        print(f"| {name} | {n_drawn} | {n_found} | {shares} | {angle:.1f} degrees |")


if __name__ == "__main__":
    main()
