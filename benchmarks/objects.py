"""How well objects are told apart: Voronoi-Otsu, the distance transform of learned masks, sure cores, learned centres.

    python benchmarks/objects.py --data DATA -o object-runs
    python benchmarks/objects.py --data DATA -o object-runs --run 6001240=RUN --centres-run 6001240=RUN

Each case (see cases.py) is trained on twice by preset ``fast``, without and with ``synthesis.centres``, unless runs are
given, and scored by what the finished runs make of it: three held-out stacks of the simulated case, the same stack of
the others. "Count off by" is the mean over these of the absolute error of count; in the means of found and of true
objects, errors of several stacks cancel. All ways are told the diameter of the objects that the training is told, or
draws by, and nothing else; one setting serves every stack. The truth is used for scores alone, and for ceilings.

What a run predicts is kept in the output folder, and an interrupted training goes on where it was: call the same
command again. ``--table`` takes what has been predicted and trains nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from cases import REAL, Case, case_of, parser_of

import tfcyclegan3d as tc
from tfcyclegan3d import config as configuration
from tfcyclegan3d.evaluation.objects import ObjectScores, mean_objects, object_scores
from tfcyclegan3d.objects.instances import VALLEY, label_objects, voronoi_otsu
from tfcyclegan3d.synthesis.centres import centre_distances
from tfcyclegan3d.synthesis.prior import Prior
from tfcyclegan3d.training.settling import voxel_aspect

N_HELD_OUT = 3
CASES = ("simulated, hard", *REAL)
# Of the diameter: blobs nearer to each other become one. Less parts long nuclei, more joins neighbours.
SPOT_SIGMA = 0.2
# Half of what ``label_objects`` asks for to part two hills.
SHALLOW = 0.05
COLUMNS = "stack | class | objects | way | found | count off by"
COLUMNS += " | F1 @0.5 | F1 @0.75 | AP @0.5 | mean AP | PQ @0.5 | merges | splits"


@dataclass(frozen=True)
class Seen:
    """What is known of a class in a stack.

    Parameters
    ----------
    image : ndarray, ZYX
        Intensities.
    diameter : float
        Of its objects, in voxels along X.
    spacing : (z, y, x)
        Sides of a voxel, in those.
    probability, centres : ndarray, ZYX, optional
        What a model makes of the image.
    truth : ndarray of int, ZYX, optional
        Numbered objects, for ceilings alone.
    """

    image: np.ndarray
    diameter: float
    spacing: tuple[float, float, float]
    probability: np.ndarray | None = None
    centres: np.ndarray | None = None
    truth: np.ndarray | None = None


def _voronoi_otsu(seen: Seen) -> np.ndarray:
    return voronoi_otsu(seen.image, spot_sigma=SPOT_SIGMA * seen.diameter)


def _distance(seen: Seen, valley: float = VALLEY) -> np.ndarray:
    return label_objects(seen.probability > 0.5, diameter=seen.diameter, spacing=seen.spacing, valley=valley)


def _cores(seen: Seen, valley: float = VALLEY) -> np.ndarray:
    return label_objects(seen.probability, diameter=seen.diameter, spacing=seen.spacing, valley=valley)


def _centres(seen: Seen, valley: float = VALLEY) -> np.ndarray:
    settings = {"diameter": seen.diameter, "spacing": seen.spacing, "valley": valley}
    return label_objects(seen.probability, centres=seen.centres, **settings)


def _true_mask(seen: Seen) -> np.ndarray:
    return _distance(replace(seen, probability=seen.truth > 0))


def _true_centres(seen: Seen) -> np.ndarray:
    return _centres(replace(seen, centres=centre_distances(seen.truth[..., np.newaxis], seen.spacing)[..., 0]))


# What is trained, if anything, and how its prediction is labelled.
WAYS: dict[str, tuple[str | None, Callable[[Seen], np.ndarray]]] = {
    "Voronoi-Otsu": (None, _voronoi_otsu),
    "distance": ("masks", _distance),
    "distance, shallow valleys": ("masks", partial(_distance, valley=SHALLOW)),
    "cores": ("masks", _cores),
    "cores, shallow valleys": ("masks", partial(_cores, valley=SHALLOW)),
    "cores, trained with centres": ("centres", _cores),
    "cores, trained with centres, shallow valleys": ("centres", partial(_cores, valley=SHALLOW)),
    "centres": ("centres", _centres),
    "centres, shallow valleys": ("centres", partial(_centres, valley=SHALLOW)),
    "ceiling: distance, of the true mask": (None, _true_mask),
    "ceiling: true centres, on the learned mask": ("masks", _true_centres),
}


def folder_of(output: Path, name: str, seed: int, kind: str) -> Path:
    """Return where what a training of a case gives is kept."""
    return output / f"{name.replace(', ', '-')}-{seed}-{kind}"


def trained(case: Case, run: Path, seed: int, kind: str) -> Path:
    """Train, or go on with it, and return the run; an interrupted one ends the program."""
    config = tc.presets.fast().replace(
        {"seed": seed, "synthesis.diameters": case.diameters, "synthesis.centres": kind == "centres"}
    )
    if not _ended(run):
        resume = (run / "config.json").exists()
        tc.train(case.images, None, None if resume else config, run, resume=resume, progress=False)
        if not _ended(run):
            raise SystemExit(f"{run}: interrupted; call the same command again")
    return run


def _ended(run: Path) -> bool:
    manifest = run / "manifest.json"
    return manifest.exists() and json.loads(manifest.read_text())["verdict"] not in ("running", "interrupted")


def predict(case: Case, run: Path, folder: Path) -> None:
    """Keep what a run makes of every scored stack, and the diameter of its objects in voxels along X."""
    folder.mkdir(parents=True, exist_ok=True)
    model = tc.load_model(run)
    for number, volume in enumerate(case.scored):
        if model.has_centres:
            probability, centres = model.predict_with_centres(volume)
            arrays = {"probability": probability.array, "centres": centres.array}
        else:
            arrays = {"probability": model.predict(volume).array}
        np.savez(folder / f"unfinished-{number}.npz", **{k: v.astype(np.float16) for k, v in arrays.items()})
        (folder / f"unfinished-{number}.npz").replace(folder / f"{number}.npz")
    (folder / "model.json").write_text(json.dumps(model.config.to_dict()))


def diameters_of(case: Case, folders: Mapping[str, Path]) -> dict[str, float]:
    """Return each class's diameter in voxels along X: as told, or of the prior the training drew by."""
    if case.diameters:
        return case.diameters
    saved = next(folder / "model.json" for folder in folders.values() if (folder / "model.json").exists())
    prior = Prior.from_dict(configuration.from_dict(json.loads(saved.read_text())).synthesis.prior)
    return {name: one.typical_diameter for name, one in zip(prior.class_names, prior.objects, strict=True)}


def rows(name: str, case: Case, folders: Mapping[str, Path]) -> Iterator[str]:
    """Yield the rows of a case."""
    diameters = diameters_of(case, folders)
    spacing = voxel_aspect(case.scored[0])
    for k, class_name in enumerate(diameters):
        for way, (kind, label) in WAYS.items():
            if kind is not None and not (folders[kind] / "model.json").exists():
                continue
            found = []
            for number, (volume, truth) in enumerate(zip(case.scored, case.objects, strict=True)):
                arrays = _read(folders[kind] / f"{number}.npz", k) if kind is not None else {}
                numbers = label(
                    Seen(volume.array[..., k], diameters[class_name], spacing, truth=truth[..., k], **arrays)
                )
                found.append(object_scores(numbers, truth[..., k]))
            yield _row(name, class_name, way, mean_objects(found))


def _read(path: Path, k: int) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return {name: arrays[name][..., k].astype(np.float32) for name in arrays}


def _row(name: str, class_name: str, way: str, score: ObjectScores) -> str:
    half, most = score.at[0.5], score.at[0.75]
    shares = half.f1, most.f1, half.average_precision, score.mean_average_precision, half.panoptic_quality
    counts = f"{score.merges:.3g} | {score.splits:.3g}"
    cells = " | ".join(f"{share:.3f}" for share in shares)
    found = f"{score.n_predicted:.3g} | {score.absolute_count_error:.3g}"
    return f"| {name} | {class_name} | {score.n_true:.3g} | {way} | {found} | {cells} | {counts} |"


def _given(texts: list[str]) -> dict[str, Path]:
    return {name: Path(run) for name, _, run in (text.partition("=") for text in texts)}


def main() -> None:
    """Train, predict and print."""
    parser = parser_of(__doc__, "object-runs")
    parser.add_argument("--stacks", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", action="append", default=[], metavar="CASE=RUN", help="trained without centres")
    parser.add_argument("--centres-run", action="append", default=[], metavar="CASE=RUN", help="trained with them")
    parser.add_argument("--table", action="store_true", help="print what has been predicted, and train nothing")
    options = parser.parse_args()
    given = {"masks": _given(options.run), "centres": _given(options.centres_run)}
    print(f"| {COLUMNS} |\n| --- | --- | ---: | --- |{' ---: |' * 9}", flush=True)
    for name in options.stacks:
        case = case_of(name, options.seed, options.data, N_HELD_OUT)
        folders = {kind: folder_of(options.output, name, options.seed, kind) for kind in given}
        for kind, folder in folders.items():
            if not options.table and not (folder / "model.json").exists():
                run = given[kind].get(name) or trained(case, folder / "run", options.seed, kind)
                predict(case, run, folder)
        for row in rows(name, case, folders):
            print(row, flush=True)


if __name__ == "__main__":
    main()
