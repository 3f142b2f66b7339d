"""How much hangs on the epoch: scores of what accuracy.py trained, without training anything.

python benchmarks/epochs.py --data DATA -o runs --stacks 8-cell 1135 6001240

For each run of a configuration that ``runs`` holds, prints the Dice (precision, recall) of the averaged weights of some
of its epochs, and of the mean of their probabilities; on the first stack scored.
The truth is used for scores only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from accuracy import folder_of, take_averages
from cases import REAL, SIMULATED, case_of, parser_of

import tfcyclegan3d as tc
from tfcyclegan3d import config as configuration
from tfcyclegan3d.inference.predictor import SegmentationModel
from tfcyclegan3d.training.checkpoints import checkpoint_of


def scores(probabilities: np.ndarray, truth: np.ndarray) -> str:
    """Return Dice (precision, recall) of each class at one half."""
    found = tc.evaluate(tc.Volume(probabilities > 0.5), tc.Volume(truth))
    return "; ".join(f"{one.dice:.3f} ({one.precision:.2f}, {one.recall:.2f})" for one in found.values())


def compare(run: Path, image: tc.Volume, truth: np.ndarray, share: float) -> None:
    """Print the rows of a run."""
    import keras  # Here, since TensorFlow must not come before the package.

    config = configuration.load(run / "config.json").replace({"inference.outline_levels": None})
    network = keras.saving.load_model(run / "image_to_mask.keras", compile=False)
    n_epochs = config.training.epochs
    epochs = np.unique(np.linspace(share * n_epochs, n_epochs, 8).round().astype(int))
    total = np.zeros(truth.shape, np.float32)
    for epoch in epochs:
        take_averages(network, checkpoint_of(run / "checkpoints", int(epoch)))
        probabilities = SegmentationModel(network, config).predict(image).array
        total += probabilities
        print(f"| {run.parent.name} | epoch {epoch} | {scores(probabilities, truth)} |", flush=True)
    print(f"| {run.parent.name} | mean of all of these | {scores(total / len(epochs), truth)} |")


def main() -> None:
    """Score and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--configuration", default="fast")
    parser.add_argument("--stacks", nargs="+", choices=[*SIMULATED, *REAL], required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--from-share", type=float, default=0.25, help="of the epochs, the first to look at")
    options = parser.parse_args()
    print("| run | what | Dice (precision, recall) |")
    print("| --- | --- | --- |")
    for name in options.stacks:
        case = case_of(name, options.seed, options.data)
        run = folder_of(options.output, options.configuration, name, options.seed) / "run"
        compare(run, case.scored[0], case.truths[0], options.from_share)


if __name__ == "__main__":
    main()
