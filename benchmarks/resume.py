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
from tfcyclegan3d.models import layers as layers  # What the saved networks are made of has to be known to Keras.

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
TRAINED = (0, 3)  # 3: to the end, but networks this small are not to be trusted.
TIMES = ("minutes", "seconds_per_step")
COMMAND = "import sys; from tfcyclegan3d.cli.main import main; sys.exit(main())"


def started(folder: Path, run: Path) -> subprocess.Popen:
    """Begin a run, or go on with it where its settings are there."""
    how = ["--resume"] if (run / "config.json").is_file() else ["--config", str(folder / "settings.json")]
    call = ["train", "--images", str(folder / "stack.tif"), "-o", str(run), "--quiet", *how]
    return subprocess.Popen([sys.executable, "-c", COMMAND, *call], stdout=subprocess.DEVNULL)


def wait_for_checkpoint(process: subprocess.Popen, run: Path) -> None:
    """Wait until a process has written a checkpoint, or has ended."""
    before = newest(run)
    while process.poll() is None and newest(run) == before:
        time.sleep(0.02)


def newest(run: Path) -> str | None:
    """Return the name of a run's newest checkpoint."""
    return max((path.stem for path in run.glob("checkpoints/*.npz")), default=None)


def undisturbed(folder: Path) -> tuple[float, float, int]:
    """Train without a kill; return the seconds until its first checkpoint and to its end, and its exit status."""
    begun = time.monotonic()
    process = started(folder, folder / "undisturbed")
    wait_for_checkpoint(process, folder / "undisturbed")
    first = time.monotonic() - begun
    if process.wait() not in TRAINED:
        raise SystemExit(f"the undisturbed training failed with status {process.returncode}")
    return first, time.monotonic() - begun, process.returncode


def state_of(run: Path) -> str:
    """Say what a killed process left."""
    if not (run / "config.json").is_file():
        return "no run yet"
    unfinished = sorted(path.name for path in run.rglob(".unfinished-*"))
    return ", ".join([newest(run) or "no checkpoint yet", *unfinished])


def rows_of(run: Path) -> list[dict[str, str]]:
    """Return the rows of the log without their times, which no two runs share."""
    with (run / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in TIMES} for row in csv.DictReader(file)]


def arrays_of(run: Path) -> dict[str, np.ndarray]:
    """Return the weights of both networks and every variable of the newest checkpoint."""
    name = newest(run)
    with np.load(run / "checkpoints" / f"{name}.npz") as file:
        arrays = {f"{name}/{entry}": file[entry] for entry in file.files if entry != "record"}
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
        first, total, wanted_status = undisturbed(folder)
        print(f"undisturbed: the first checkpoint after {first:.1f} s, the end after {total:.1f} s", flush=True)
        run = folder / "killed"
        for kill in range(1, options.kills + 1):
            process = started(folder, run)
            begun = time.monotonic()
            # Every other one while a process starts or resumes, the rest once it has come an epoch further.
            if kill % 2 == 0:
                wait_for_checkpoint(process, run)
                time.sleep(rng.uniform(0, 2 * (total - first) / (options.epochs - 1)))
            else:
                time.sleep(rng.uniform(0, first))
            process.kill()
            status = process.wait()
            print(f"kill {kill} after {time.monotonic() - begun:.2f} s: {state_of(run)}, status {status}", flush=True)
        status = started(folder, run).wait()
        print(f"ended with status {status}")
        same_rows = rows_of(run) == rows_of(folder / "undisturbed")
        one, other = arrays_of(run), arrays_of(folder / "undisturbed")
        differing = [name for name in one.keys() | other.keys() if not np.array_equal(one.get(name), other.get(name))]
        print(f"metrics equal but for times: {same_rows}; {len(other)} arrays, {len(differing)} of them differ")
        left = [str(path.relative_to(run)) for path in run.rglob(".unfinished-*")]
        print(f"files left unfinished: {left or 'none'}")
        return int(status != wanted_status or not same_rows or bool(differing) or bool(left))


if __name__ == "__main__":
    raise SystemExit(main())
