r"""How fast a training step is, beside other programs' steps, the machine's own rate, and what the input delivers.

python benchmarks/steps.py --rounds 2 --other "authors=python authors_step.py" \
    --other "pytorch=python pytorch_step.py {filters} {blocks} {critic} {precision}"

For each size (the paper's, and one near that of preset fast) and precision, runs our step and every other program in
processes of their own, for as many rounds as asked for, and prints the median seconds per step without each process's
first, ratios, the share of the machine's rate of matrix products in the same precision, and peak memory. Another
program, which one brings oneself (the two above are not part of the repository), prints "... : SECONDS s" once a step
and "peak GB X" in the end; the fields in braces are filled in. One whose command names no precision is run once, at
the paper's size. Last, how many patches the input pipeline of the fast preset delivers for each that its step takes,
what XLA makes of that step, and how long it takes without some of what makes it quick (``--part parts`` alone).
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np

if TYPE_CHECKING:
    from tfcyclegan3d.training.start import StartStep

PATCH, N_CHANNELS = 64, 2
SIZES = {
    "paper": {"filters": 32, "blocks": 9, "critic": 64},
    "fast": {"filters": 16, "blocks": 6, "critic": 32},
}
PRECISIONS = {"float32": "off", "bfloat16": "bfloat16"}
STEP_LINE, PEAK_LINE = re.compile(r": ([\d.]+) s$"), re.compile(r"^peak GB ([\d.]+)")
N_STEPS = 5


@dataclass
class Timings:
    """What one program printed, over all rounds."""

    seconds: list[float] = field(default_factory=list)
    peak_gb: float = 0.0

    @property
    def median(self) -> float:
        """Of the seconds per step."""
        return float(np.median(self.seconds))

    def add(self, output: str) -> None:
        """Take in what a process printed; its first step, which also prepares, does not count."""
        found = [STEP_LINE.search(line) for line in output.splitlines()]
        self.seconds.extend([float(match.group(1)) for match in found if match][1:])
        peaks = [PEAK_LINE.search(line) for line in output.splitlines()]
        self.peak_gb = max([self.peak_gb, *(float(match.group(1)) for match in peaks if match)])


def time_our_step(filters: int, blocks: int, critic: int, precision: str) -> None:
    """Print the seconds of a few of our steps on random data, of everything that the paper's loss has."""
    import tensorflow as tf

    from tfcyclegan3d import presets
    from tfcyclegan3d.precision import policy_for
    from tfcyclegan3d.training.cyclegan import CycleGANStep
    from tfcyclegan3d.training.networks import build_networks

    config = presets.paper().replace(
        {
            "model.filters": filters,
            "model.blocks": blocks,
            "model.critic_filters": critic,
            "losses.class_weights": [3.5, 1.0],
            "training.batch_size": 1,
        }
    )
    policy = policy_for(PRECISIONS[precision])
    networks = build_networks(config.model, N_CHANNELS, policy, seed=0)
    step = CycleGANStep(networks, config.losses, config.training, policy, seed=0, average=None)
    image, mask = (tf.random.uniform((1, *(PATCH,) * 3, N_CHANNELS), -1, 1) for _ in range(2))
    supervised, weights = tf.constant(0.0), tf.constant([1.0, 1.0])
    for _ in range(N_STEPS):
        begun = time.perf_counter()
        losses = step(image, mask, mask, mask, supervised, weights)
        float(losses["critics"])
        print(f"our step: {time.perf_counter() - begun:.3f} s")
    print("peak GB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
    print("operations", operations_of_step(networks))


def operations_of_step(networks) -> float:
    """Return the floating-point operations of the convolutions in one step on one sample, in 1e9.

    Each generator sees three samples (translation, identity, cycle), forwards and backwards: the gradients of inputs
    and of kernels take as many operations each as the pass itself; that of a patch itself is not needed. Each critic
    judges one fake for the generators (no gradient of kernels), and two samples for itself.
    """
    generators = [networks.image_to_mask, networks.mask_to_image]
    critics = [networks.mask_critic, networks.image_critic]
    total = 0.0
    for passes, judged, models in ((3, 0, generators), (2, 1, critics)):
        for model in models:
            each = _operations(model)
            total += (3 * passes + 2 * judged) * sum(each)
            # Of the generators' three samples two are patches themselves, of the critics' own two both are fixed.
            total -= 2 * each[0]
    return total / 1e9


def _operations(model) -> list[float]:
    import keras

    counts, side = [], {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            side[layer.output.name] = PATCH
            continue
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        now = side[inputs[0].name]
        if isinstance(layer, keras.layers.Conv3DTranspose):
            made, seen = now * layer.strides[0], now
            counts.append(2.0 * np.prod(layer.kernel.shape) * seen**3)
        elif isinstance(layer, keras.layers.Conv3D):
            made = -(-now // layer.strides[0])
            counts.append(2.0 * np.prod(layer.kernel.shape) * made**3)
        else:
            made = now
        side[layer.output.name] = made
    return counts


def time_matrix_product(precision: str) -> None:
    """Print the operations per second, in 1e9, of a product of matrices that fill the processor's vectors."""
    import tensorflow as tf

    side = 2048
    matrix = tf.cast(tf.random.normal((side, side)), precision)
    product = tf.function(lambda: tf.reduce_max(tf.cast(matrix @ matrix, tf.float32)))
    seconds = []
    for _ in range(9):
        begun = time.perf_counter()
        product().numpy()
        seconds.append(time.perf_counter() - begun)
    print(2 * side**3 / min(seconds) / 1e9)


def time_input() -> None:
    """Print patches per second from each source of the fast preset, and those that its steps take."""
    import tfcyclegan3d as tc
    from tfcyclegan3d import patches
    from tfcyclegan3d.training.cyclegan_trainer import CycleGANTrainer
    from tfcyclegan3d.training.preparation import prepare

    volume = tc.simulate_stack((56, 256, 256), seed=5).image
    config = tc.presets.fast().replace({"synthesis.diameters": {"golgi": 15, "nuclei": 26}})
    trainer = CycleGANTrainer(prepare([volume], None, config))
    steps = {}
    for phase, progress in (("start", 0.0), ("cyclegan", 0.8)):
        seconds = []
        for index in range(14):
            begun = time.perf_counter()
            float(trainer.step(index, progress)["supervised"])
            seconds.append(time.perf_counter() - begun)
        steps[phase] = float(np.median(seconds[4:]))
    rates = {}
    for name in ("images", "masks", "rendered"):
        batches = iter(patches.dataset(trainer._sources[name], 1))
        for _ in range(2 * patches.N_PREFETCHED):
            next(batches)
        begun, n_drawn = time.perf_counter(), 100
        for _ in range(n_drawn):
            next(batches)
        rates[name] = n_drawn / (time.perf_counter() - begun)
    for name, rate in rates.items():
        print(f"| {name} | {rate:.0f} | {rate * steps['start']:.0f} | {rate * steps['cyclegan']:.0f} |")
    print(f"seconds per step: start {steps['start']:.3f}, cyclegan {steps['cyclegan']:.3f}")


def start_step(n_channels: int, policy: str) -> tuple[StartStep, tuple]:
    """Return a step of the start of the fast preset, and a batch for it."""
    import tensorflow as tf

    from tfcyclegan3d import presets
    from tfcyclegan3d.training.networks import build_networks
    from tfcyclegan3d.training.start import StartStep

    config = presets.fast()
    step = StartStep(build_networks(config.model, n_channels, policy, seed=0), 5e-4, policy, average=None)
    image = tf.random.uniform((1, *config.training.patch_shape, n_channels), -1, 1)
    return step, (image, tf.sign(image), tf.constant([2.0] * n_channels))


def time_parts(rounds: int = 60) -> None:
    """Print the seconds of that step in bfloat16, taken in turn, without some of what makes it quick."""
    import keras

    from tfcyclegan3d.models import quick
    from tfcyclegan3d.training import start

    for n_channels in (1, 2):
        steps = {"as it is": start_step(n_channels, "mixed_bfloat16")}
        if n_channels % 2:
            with mock.patch.object(quick, "EvenConv3D", keras.layers.Conv3D):
                steps["an odd number of channels as it is"] = start_step(n_channels, "mixed_bfloat16")
        with mock.patch.object(start, "FusedAdam", keras.optimizers.Adam):
            steps["Adam in operations of Keras"] = start_step(n_channels, "mixed_bfloat16")
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(rounds):
            for name, (step, batch) in steps.items():
                begun = time.perf_counter()
                float(step(*batch)["supervised"])
                seconds[name].append(time.perf_counter() - begun)
        own = np.median(seconds["as it is"][N_STEPS:])
        for name, taken in seconds.items():
            median = np.median(taken[N_STEPS:])
            print(f"| {n_channels} | {name} | {median:.3f} | {median / own:.2f} |", flush=True)


def time_xla() -> None:
    """Print the seconds of that step in float32, as it is and compiled by XLA."""
    import tensorflow as tf

    from tfcyclegan3d.training.start import StartStep

    step, batch = start_step(N_CHANNELS, "float32")
    compiled = tf.function(lambda *arrays: StartStep.__call__.python_function(step, *arrays), jit_compile=True)
    for name, one in (("as it is", step), ("compiled by XLA", compiled)):
        seconds = []
        for _ in range(N_STEPS):
            begun = time.perf_counter()
            float(one(*batch)["supervised"])
            seconds.append(time.perf_counter() - begun)
        print(f"start step of fast, {name}: {np.median(seconds[1:]):.3f} s", flush=True)


def _run(command: list[str]) -> str:
    # TensorFlow leaves oneDNN off on some processors; a comparison gives it to every program.
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1", **os.environ}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def _own(*arguments: object) -> str:
    return _run([sys.executable, __file__, "--part", *map(str, arguments)])


def compare(size: str, precision: str, others: dict[str, str], rounds: int) -> None:
    """Time every program that has this size and precision in turn, and print a row for each."""
    sizes, ours, rivals = SIZES[size], Timings(), {name: Timings() for name in others}
    for _ in range(rounds):
        printed = _own("step", *sizes.values(), precision)
        ours.add(printed)
        for name, command in others.items():
            rivals[name].add(_run(shlex.split(command.format(**sizes, precision=precision))))
    rate = float(_own("product", precision))
    operations = float(printed.rsplit("operations", 1)[1])
    share = operations / ours.median / rate
    print(
        f"| {size} | {precision} | ours | {ours.median:.2f} | 1 | {100 * share:.0f} % of {rate:.0f} GFLOP/s | "
        f"{ours.peak_gb:.2f} |"
    )
    for name, timed in rivals.items():
        ratio = timed.median / ours.median
        print(
            f"| {size} | {precision} | {name} | {timed.median:.2f} | {ratio:.2f} | | {timed.peak_gb:.2f} |", flush=True
        )


def main() -> None:
    """Time and print."""
    if sys.argv[1:2] == ["--part"]:
        part, *arguments = sys.argv[2:]
        if part == "step":
            time_our_step(*map(int, arguments[:3]), arguments[3])
        elif part == "product":
            time_matrix_product(*arguments)
        elif part == "parts":
            time_parts(*map(int, arguments))
        elif part == "xla":
            time_xla()
        else:
            time_input()
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    options = parser.parse_args()
    others = dict(one.split("=", 1) for one in options.other)
    print("| size | precision | program | seconds a step | times ours | of matrix products | peak GB |")
    print("| --- | --- | --- | ---: | ---: | --- | ---: |")
    for size in options.sizes:
        for precision in options.precisions:
            fixed = size == "paper" and precision == "float32"
            fitting = {name: command for name, command in others.items() if "{precision}" in command or fixed}
            compare(size, precision, fitting, options.rounds)
    print("\n| source | patches a second | for each the start takes | for each the adversarial part takes |")
    print("| --- | ---: | ---: | ---: |")
    print(_own("input").strip())
    print(_own("xla").strip())
    print("\n| channels | a step of the start of fast | seconds | times |\n| ---: | --- | ---: | ---: |")
    print(_own("parts").strip())


if __name__ == "__main__":
    main()
