"""Kill a training again and again at random moments, resume it each time, and compare its end with an undisturbed one.

python benchmarks/resume.py             # ten kills with SIGKILL: some minutes on two cores
python benchmarks/resume.py --kills 3 --seed 1
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

import tfcyclegan3d as tc
from tfcyclegan3d import presets

# Networks of which a step takes milliseconds, so that most of a process is its start, and most of that TensorFlow's.
SETTINGS = {
    "model.filters": 4,
    "model.blocks": 1,
    "model.critic_filters": 4,
    "model.critic_levels": 2,
    "model.end_kernel": 3,
    "synthesis.n_masks": 2,
    "synthesis.maximum_shape": [16, 32, 32],
    "preprocessing.downsampling": [1, 2, 2],
    "training.patch_shape": [16, 16, 16],
    "training.mixed_precision": "off",
    "training.epochs": 12,
    "training.steps_per_epoch": 10,
    "inference.tile_shape": [16, 16, 16],
    "inference.overlap": 4,
}
COMMAND = "import sys; from tfcyclegan3d.cli.main import main; sys.exit(main())"


def started(folder: Path, run: Path) -> subprocess.Popen:
    """Begin a run, or go on with it where its settings are there."""
    how = ["--resume"] if (run / "config.json").is_file() else ["--config", str(folder / "settings.json")]
    call = ["train", "--images", str(folder / "stack.tif"), "-o", str(run), "--quiet", *how]
    return subprocess.Popen([sys.executable, "-c", COMMAND, *call], stdout=subprocess.DEVNULL)


def undisturbed(folder: Path) -> tuple[float, float]:
    """Train without a kill; return the seconds until its first checkpoint and to its end."""
    begun = time.monotonic()
    process = started(folder, folder / "undisturbed")
    while process.poll() is None and not list((folder / "undisturbed").glob("checkpoints/*.npz")):
        time.sleep(0.05)
    first = time.monotonic() - begun
    if process.wait() != 0:
        raise SystemExit(f"the undisturbed training failed with status {process.returncode}")
    return first, time.monotonic() - begun


def state_of(run: Path) -> str:
    """Say what a killed process left."""
    if not (run / "config.json").is_file():
        return "no run yet"
    kept = sorted(path.stem for path in run.glob("checkpoints/*.npz"))
    unfinished = sorted(path.name for path in run.rglob(".unfinished-*"))
    return ", ".join([kept[-1] if kept else "no checkpoint yet", *unfinished])


def rows_of(run: Path) -> list[dict[str, str]]:
    """Return the rows of the log without their minutes."""
    with (run / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name != "minutes"} for row in csv.DictReader(file)]


def arrays_of(run: Path) -> dict[str, np.ndarray]:
    """Return the weights of both networks and every variable of the newest checkpoint."""
    newest = max(run.glob("checkpoints/*.npz"))
    with np.load(newest) as file:
        arrays = {f"{newest.stem}/{name}": file[name] for name in file.files if name != "record"}
    for name in ("image_to_mask", "mask_to_image"):
        weights = keras.saving.load_model(run / f"{name}.keras", compile=False).get_weights()
        arrays |= {f"{name}/{k}": weight for k, weight in enumerate(weights)}
    return arrays


def main() -> int:
    """Print every kill and whether the ends are equal; 1 where they are not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--epochs", type=int, default=SETTINGS["training.epochs"])
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tc.write_volume(folder / "stack.tif", tc.simulate_stack((20, 48, 52), seed=1).image)
        presets.fast().replace(SETTINGS | {"training.epochs": options.epochs}).save(folder / "settings.json")
        first, total = undisturbed(folder)
        print(f"undisturbed: the first checkpoint after {first:.1f} s, the end after {total:.1f} s", flush=True)
        run = folder / "killed"
        kills = 0
        while True:
            process = started(folder, run)
            # Most moments lie past the start, but too early for the training to end before the last of them.
            moment = rng.uniform(0.3 * first, first + 1.2 * (total - first) / max(options.kills, 1))
            try:
                status = process.wait(moment if kills < options.kills else None)
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                print(f"kill {kills} after {moment:.2f} s: {state_of(run)}", flush=True)
        print(f"ended with status {status} after {kills} kills")
        same_rows = rows_of(run) == rows_of(folder / "undisturbed")
        one, other = arrays_of(run), arrays_of(folder / "undisturbed")
        differing = [name for name in one.keys() | other.keys() if not np.array_equal(one.get(name), other.get(name))]
        print(f"metrics equal but for minutes: {same_rows}; {len(other)} arrays, {len(differing)} of them differ")
        left = [str(path.relative_to(run)) for path in run.rglob(".unfinished-*")]
        print(f"files left unfinished: {left or 'none'}")
        return int(status != 0 or not same_rows or bool(differing) or bool(left))


if __name__ == "__main__":
    raise SystemExit(main())
