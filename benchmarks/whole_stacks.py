r"""How fast whole stacks are segmented, beside the same network in PyTorch under MONAI's sliding windows, on a CPU.

python benchmarks/whole_stacks.py --torch /path/to/an/environment/with/torch/and/monai/bin/python

Both segment the same random stack, which is in memory, by the generator of preset ``fast`` with weights of their own
(only speed is compared), from stretched intensities to probabilities: ours as ``predict`` does, with the tiles it
chooses; MONAI's ``sliding_window_inference`` with windows of 64 and 96 voxels a side, of which neighbours share a
quarter, its own default, blended by Gaussians (``--windows``, ``--layouts``); of other windows, a halo of 16 is shared.
Each is a process that waits for its turn; rounds are interleaved, and medians count, of rounds and of the ratios in
them. On a machine with other work the processor's seconds, of all threads, tell more than the clock. Precision is
bfloat16 where the processor has matrix units for it, else float32.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

# Of the stack on the network's grid, two channels: half the paper's planes and an eighth of its area.
SHAPE = (32, 384, 320)
Shape = tuple[int, int, int]


def random_stack(shape: tuple[int, int, int]) -> np.ndarray:
    """Return intensities ZYXC float32 that are stretched to [-1, 1] already."""
    return np.random.default_rng(0).uniform(-1, 1, (*shape, 2)).astype(np.float32)


def serve(work) -> None:
    """Do the work whenever a line arrives, and answer with its seconds, and those of all its threads."""
    print("ready", flush=True)
    for _ in sys.stdin:
        begun, computed = time.perf_counter(), time.process_time()
        work()
        print(json.dumps([time.perf_counter() - begun, time.process_time() - computed]), flush=True)


def serve_ours(shape: Shape, precision: str, size: tuple[int, int], largest: Shape | None) -> None:
    """Segment by this package; ``size`` is the network's filters and blocks."""
    from tfcyclegan3d import presets
    from tfcyclegan3d.inference.predictor import SegmentationModel
    from tfcyclegan3d.models.resnet_generator import resnet_generator
    from tfcyclegan3d.sources import open_source
    from tfcyclegan3d.volumes import Volume

    config = presets.fast().replace(
        {
            "classes": ["golgi", "nuclei"],
            "preprocessing.downsampling": [1, 1, 1],
            "training.mixed_precision": "bfloat16" if precision == "bfloat16" else "off",
            "inference.flips": "none",
        }
    )
    filters, blocks = size
    model = SegmentationModel(resnet_generator(2, 2, filters=filters, blocks=blocks), config)
    source = open_source(Volume(random_stack(shape)))
    probabilities = np.empty((*shape, 2), np.float32)

    def write(place, values):
        probabilities[place.slices] = values

    def work():
        settled = model.settle(source, largest)
        model.prediction(source, settled).run(settled.plan.blocks, write)

    plan = model.settle(source, largest).plan
    print("tiles", "x".join(map(str, plan.tile_shape)), len(plan.blocks), file=sys.stderr, flush=True)
    serve(work)


def serve_monai(shape: Shape, precision: str, size: tuple[int, int], window: Shape, layout: str) -> None:
    """Segment by PyTorch and MONAI: a ResNet generator c7s1-f, d2f, d4f, residual blocks, u2f, uf, c7s1-2."""
    import torch
    from monai.inferers import sliding_window_inference
    from torch import nn

    def normalised(convolution, channels):
        return [convolution, nn.InstanceNorm3d(channels, affine=True), nn.ReLU(inplace=True)]

    class Residual(nn.Module):
        def __init__(self, channels):
            super().__init__()
            first = normalised(nn.Conv3d(channels, channels, 3, padding=1), channels)
            second = normalised(nn.Conv3d(channels, channels, 3, padding=1), channels)[:2]
            self.body = nn.Sequential(*first, *second)

        def forward(self, x):
            return x + self.body(x)

    (f, n_blocks), layers = size, []
    layers += normalised(nn.Conv3d(2, f, 7, padding=3), f)
    for n in (f, 2 * f):
        layers += normalised(nn.Conv3d(n, 2 * n, 3, 2, 1), 2 * n)
    layers += [Residual(4 * f) for _ in range(n_blocks)]
    for n in (4 * f, 2 * f):
        layers += normalised(nn.ConvTranspose3d(n, n // 2, 3, 2, 1, 1), n // 2)
    memory = torch.channels_last_3d if layout == "channels_last" else torch.contiguous_format
    network = nn.Sequential(*layers, nn.Conv3d(f, 2, 7, padding=3), nn.Tanh()).eval().to(memory_format=memory)
    stack = torch.from_numpy(random_stack(shape)).permute(3, 0, 1, 2)[None].contiguous()
    # A cube shares a quarter with its neighbours, MONAI's default; a window like one of our tiles a halo of 16.
    pairs = [*zip(window, shape, strict=True)]
    overlap = 0.25 if len(set(window)) == 1 else [32 / side if side < length else 0 for side, length in pairs]
    # What is longer than the stack would be mostly padding.
    window = tuple(min(side, -(-length // 4) * 4) for side, length in pairs)

    def predict(batch):
        return network(batch.to(memory_format=memory))

    def work():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            made = sliding_window_inference(stack, window, 1, predict, overlap=overlap, mode="gaussian")
            ((made.float() + 1) / 2).numpy()

    serve(work)


class Contestant:
    """A process that segments the stack when it is its turn."""

    def __init__(self, python: str, *arguments: object) -> None:
        command = [python, __file__, "--part", *map(str, arguments)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._await("ready")
        self.turns: list[list[float]] = []

    def _await(self, prefix: str = "") -> str:
        for line in self._process.stdout:
            if line.startswith(prefix):
                return line
        raise SystemExit("a process ended before its time")

    def take_turn(self) -> list[float]:
        """Segment once; return the seconds, by the clock and of the processor."""
        print(file=self._process.stdin, flush=True)
        while True:
            line = self._await().strip()
            if line.startswith("["):
                return json.loads(line)

    def end(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()


def has_bfloat16() -> bool:
    """Tell whether the processor multiplies matrices of bfloat16."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False


def main() -> None:
    """Time and print."""
    if sys.argv[1:2] == ["--part"]:
        who, shape, precision, size, tile, *layout = sys.argv[2:]
        sides, size = (tuple(int(number) for number in text.split(",")) for text in (shape, size))
        largest = None if tile == "own" else tuple(int(side) for side in tile.split(","))
        segment = serve_ours if who == "ours" else serve_monai
        segment(sides, precision, size, largest, *layout)
        return
    from tfcyclegan3d import presets

    network = presets.fast().model
    size = f"{network.filters},{network.blocks}"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", required=True, metavar="PYTHON", help="of an environment with torch and monai")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", default=",".join(map(str, SHAPE)), metavar="Z,Y,X")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default=None)
    parser.add_argument("--tiles", nargs="*", default=[], metavar="Z,Y,X", help="of ours, beside those it chooses")
    parser.add_argument("--windows", nargs="+", default=["64,64,64", "96,96,96"], metavar="Z,Y,X", help="MONAI's")
    parser.add_argument("--layouts", nargs="+", default=["channels_last", "contiguous"])
    options = parser.parse_args()
    precision = options.precision or ("bfloat16" if has_bfloat16() else "float32")
    contestants = {
        f"ours, tiles of {tile}": Contestant(sys.executable, "ours", options.shape, precision, size, tile)
        for tile in ["own", *options.tiles]
    }
    for window in options.windows:
        for layout in options.layouts:
            contestants[f"MONAI, windows of {window}, {layout}"] = Contestant(
                options.torch, "monai", options.shape, precision, size, window, layout
            )
    for contestant in contestants.values():
        contestant.take_turn()
    for _ in range(options.rounds):
        for name, contestant in contestants.items():
            contestant.turns.append(contestant.take_turn())
            print(f"{name}: {contestant.turns[-1]}", file=sys.stderr, flush=True)
    n_voxels = np.prod([int(side) for side in options.shape.split(",")])
    print(f"stack of {options.shape}, 2 channels, {precision}, {network.filters} filters, {network.blocks} blocks")
    print(
        "| | seconds, median (least, most) | million voxels a second | times ours | processor's seconds | times ours |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    ours = np.array(next(iter(contestants.values())).turns)
    for name, contestant in contestants.items():
        contestant.end()
        turns = np.array(contestant.turns)
        (middle, computed), (clock, processor) = np.median(turns, axis=0), np.median(turns / ours, axis=0)
        spread = f"{middle:.1f} ({turns[:, 0].min():.1f}, {turns[:, 0].max():.1f})"
        rate = n_voxels / middle / 1e6
        print(f"| {name} | {spread} | {rate:.3f} | {clock:.2f} | {computed:.1f} | {processor:.2f} |")


if __name__ == "__main__":
    main()
