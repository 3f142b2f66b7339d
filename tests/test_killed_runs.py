"""A training whose process dies at any moment, and what resuming makes of it."""

import csv
import functools
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfcyclegan3d as tc
from tests.tiny import TINY
from tests.toy import ToyTrainer
from tfcyclegan3d.training.run_folder import RunFolder
from tfcyclegan3d.volumes import write_volume

CONFIG = TINY.replace(
    {
        "preprocessing.downsampling": [1, 2, 2],
        "training.epochs": 2,
        "training.steps_per_epoch": 2,
        "training.keep_checkpoints": 1,
    }
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A simulated stack."""
    return write_volume(tmp_path_factory.mktemp("stacks") / "cells.tif", tc.simulate_stack((20, 48, 52), seed=1).image)


def weights_of(run_path):
    names = ("image_to_mask", "mask_to_image")
    return [
        weight for name in names for weight in keras.saving.load_model(run_path / f"{name}.keras", False).get_weights()
    ]


def rows_of(run_path):
    """The rows of the log without their times, which no two runs share."""
    with (run_path / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in TIMES} for row in csv.DictReader(file)]


def variables_of(run_path, epoch):
    with np.load(run_path / "checkpoints" / f"epoch_{epoch:04d}.npz") as file:
        return {name: file[name] for name in file.files if name != "record"}


def notes_of(run_path):
    return json.loads((run_path / "manifest.json").read_text())["notes"]


def toy_weights_of(run_path):
    return [(run_path / f"{name}.keras").read_text() for name in ("image_to_mask", "mask_to_image")]


def assert_ended_alike(one, other, epoch, weights_of=weights_of):
    assert rows_of(one) == rows_of(other)
    variables, wanted = variables_of(one, epoch), variables_of(other, epoch)
    assert variables.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(variables[name], value, err_msg=name)
    for weight, wanted in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(weight, wanted)
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    assert {path.name for path in (one / "previews").iterdir()} == {
        path.name for path in (other / "previews").iterdir()
    }
    assert not list(one.rglob(".unfinished*"))


# ---- at each write in turn


TIMES = ("minutes", "seconds_per_step")


watching = []  # An audit hook stays for good: what it is to call, if anything.


@functools.cache
def add_hook():
    sys.addaudithook(lambda event, arguments: watching[-1](event, arguments) if watching else None)


def contents(folder):
    """Every file's bytes by its path in a folder, and None for every folder in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@contextmanager
def moments_of(folder):
    """List what a process would leave of a folder if it died just before each change it makes to it.

    A file that is about to get its name is left cut in half under the name it has.
    """
    add_hook()
    moments = []

    def look(event, arguments):
        writes = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")
        if event == "open" and isinstance(arguments[0], str):
            writes = arguments[2] & (os.O_WRONLY | os.O_RDWR) and ".unfinished-" not in arguments[0]
        if not writes or not str(arguments[0]).startswith(str(folder)):
            return
        watching.append(lambda *_: None)
        found = contents(folder)
        watching.pop()
        if event == "os.rename":
            name = str(Path(arguments[0]).relative_to(folder))
            found[name] = found[name][: len(found[name]) // 2]
        if not moments or found != moments[-1]:
            moments.append(found)

    watching.append(look)
    try:
        yield moments
    finally:
        watching.remove(look)
    moments.append(contents(folder))


def put(folder, moment):
    folder.mkdir()
    for name, content in moment.items():
        if content is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)
    return folder


def test_a_run_that_dies_before_any_of_its_writes_ends_as_if_it_had_not(toy, path, tmp_path, monkeypatch):
    whole = tc.train([path], None, CONFIG, tmp_path / "whole", progress=False).path
    real, broken = ToyTrainer.step, tmp_path / "broken"

    def interrupting(self, index, progress, rate):
        if index == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, index, progress, rate)

    monkeypatch.setattr(ToyTrainer, "step", interrupting)
    with moments_of(broken) as before_the_interruption:
        assert tc.train([path], None, CONFIG, broken, progress=False).verdict == "interrupted"
    monkeypatch.setattr(ToyTrainer, "step", real)
    with moments_of(broken) as after_it:
        assert tc.train([path], None, CONFIG, broken, resume=True, progress=False).verdict == "finished"
    moments = before_the_interruption + after_it
    for file in ("config.json", "metrics.csv", "manifest.json", "image_to_mask.keras", "checkpoints/.unfinished-epoch"):
        assert any(file in name for moment in moments for name in moment), file
    assert len(moments) > 30
    for k, moment in enumerate(moments):
        left = put(tmp_path / f"left_{k}", moment)
        begun = "config.json" in moment
        assert tc.train([path], None, CONFIG, left, resume=begun, progress=False).verdict == "finished"
        assert_ended_alike(left, whole, 2, toy_weights_of)
        # What was found out about the stacks is not found out again once it is in the configuration.
        if "manifest.json" in moment or not begun:
            assert notes_of(left) == notes_of(whole)
    assert notes_of(whole)[-2:] == ["masks are drawn anew", "outlines are moved"]


def test_a_process_that_dies_while_it_replaces_a_run_never_leaves_a_mixture_of_both(tmp_path):
    folder = tmp_path / "run"
    old = {"config.json": b"{}", "manifest.json": b"{}", "metrics.csv": b"epoch\n1\n", "image_to_mask.keras": b"old"}
    old |= {
        "checkpoints": None,
        "checkpoints/epoch_0001.npz": b"old",
        "previews": None,
        "previews/epoch_0001.png": b"old",
    }
    put(folder, old)
    with moments_of(folder) as moments:
        RunFolder(folder, ["critics"]).create(CONFIG)
    assert moments[0] == old
    new = moments[-1]
    assert new.keys() == {"config.json", "metrics.csv", "previews"}
    for moment in moments[1:]:
        configured = moment.get("config.json")
        assert configured in (None, new["config.json"])
        if configured:
            assert {name for name in moment if ".unfinished-" not in name} <= new.keys()
            assert all(moment[name] == new[name] for name in moment.keys() & new.keys())


def test_a_folder_with_unfinished_files_alone_holds_no_run_yet(toy, path, tmp_path):
    (tmp_path / ".unfinished-config.json").write_text('{"preset":')
    assert tc.train([path], None, CONFIG, tmp_path, progress=False).verdict == "finished"
    assert not list(tmp_path.rglob(".unfinished*"))


# ---- by the system


CHILD = """
import sys
import tensorflow as tf
tf.config.run_functions_eagerly(True)
import tfcyclegan3d as tc
from tfcyclegan3d.config import load
from tfcyclegan3d.training.cyclegan_trainer import CycleGANTrainer

real = CycleGANTrainer.step

def step(self, index, progress, rate):
    print(index, flush=True)
    return real(self, index, progress, rate)

CycleGANTrainer.step = step
stack, config, output, resume = sys.argv[1:]
tc.train([stack], None, load(config), output, resume=resume == "resume", progress=False)
"""


# Three processes that load TensorFlow each: on a busy machine they take much longer than alone.
@pytest.mark.timeout(900)
def test_a_run_killed_by_the_system_ends_as_if_it_had_not_bit_for_bit(path, tmp_path):
    tf.config.run_functions_eagerly(True)
    try:
        whole = tc.train([path], None, CONFIG, tmp_path / "whole", progress=False).path
    finally:
        tf.config.run_functions_eagerly(False)
    CONFIG.save(tmp_path / "config.json")
    killed, rng = tmp_path / "killed", np.random.default_rng(3)
    # In the first epoch, of which nothing is kept, and in the second; then never.
    moments = ((0, int(rng.integers(2)), "begin"), (0, 2, "resume"), (2, None, "resume"))
    for first, last, how in moments:
        call = [sys.executable, "-c", CHILD, path, tmp_path / "config.json", killed, how]
        with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            steps = []
            while (last is None or last not in steps) and (line := process.stdout.readline()):
                steps.append(int(line))
            if last is not None:
                time.sleep(rng.uniform(0, 0.1))  # Less than a step takes.
                process.kill()
        assert process.returncode == (0 if last is None else -signal.SIGKILL)
        assert steps[0] == first
    assert_ended_alike(killed, whole, 2)
    assert notes_of(killed) == notes_of(whole)
