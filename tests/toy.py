"""Trainings of a fraction of a second: all of a run but its steps, its networks and its pictures is real."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure

from tfcyclegan3d.training import report
from tfcyclegan3d.training import run as running
from tfcyclegan3d.training.cyclegan_trainer import CycleGANTrainer
from tfcyclegan3d.training.distribution import Distribution
from tfcyclegan3d.training.monitors import MONITORS
from tfcyclegan3d.training.preparation import prepare
from tfcyclegan3d.training.probes import Probes, observe

WATCHED = [*(f"monitors/{name}" for name in MONITORS), "scores/raw"]


@dataclasses.dataclass
class ToyNetwork:
    name: str
    weight: float

    def save(self, path):
        path.write_text(f"{self.name} {self.weight}")


class ToyTrainer:
    """A trainer whose step is arithmetic: what it gives depends on its number and on every step before."""

    loss_names = ("cycle_mask", "cycle_image", "critics")
    columns = (*loss_names, "learning_rate_generators", *WATCHED)
    policy = "float32"
    distribution = Distribution()
    recall, beginning, judge = CycleGANTrainer.recall, CycleGANTrainer.beginning, CycleGANTrainer.judge
    checks, phase_of = CycleGANTrainer.checks, CycleGANTrainer.phase_of
    is_adversarial = True

    def __init__(self, prepared, distribution):
        self.config, self.notes = prepared.config, prepared.notes
        self._value = tf.Variable(1.0, dtype=tf.float64)
        self.rate = 1.0
        drawn = np.random.default_rng(0).uniform(-1, 1, (2, 3, 4, 4, 4, 2)).astype(np.float32)
        self.probes = Probes(*drawn)

    def step(self, index, progress, rate):
        if index == 2:
            self.notes.append("masks are drawn anew")
        self.rate = rate
        self._value.assign(tf.sin(3 * self._value) + index / 7 + progress)
        return dict.fromkeys(self.loss_names, abs(float(self._value)) / 3)

    def state(self):
        return {"value/0000": self._value}

    def restored(self):
        pass

    @property
    def learning_rates(self):
        return {"learning_rate_generators": abs(float(self._value))}

    def look(self):
        predicted = np.clip(self.probes.images + np.float32(0.3 * self._value.numpy()), -1, 1)
        return observe(self.probes, *[lambda batch: batch] * 4, predicted), {"raw": predicted}

    def look_at(self, *networks):
        return self.look()[0]

    def finished(self, networks):
        networks[0].weight += 0.25
        if "outlines are moved" not in self.notes:
            self.notes.append("outlines are moved")
        return self.config

    def present_networks(self):
        return self._filled(float(self._value))

    def stored_networks(self, checkpoint, which):
        with np.load(checkpoint) as file:
            return self._filled(float(file["value/0000"]))

    def _filled(self, weight):
        return tuple(ToyNetwork(name, weight) for name in ("image_to_mask", "mask_to_image"))

    def preview(self, footer):
        return Figure((0.5, 0.5))


@pytest.fixture
def toy(monkeypatch):
    """Trainings that take a fraction of a second, all but their steps as they are."""
    prepared = {}

    def prepare_once(images, masks, config, scratch_folder):
        key = json.dumps(config.to_dict())
        if key not in prepared:
            prepared[key] = prepare(images, masks, config, scratch_folder)
        return dataclasses.replace(prepared[key], notes=list(prepared[key].notes))

    monkeypatch.setattr(running, "CycleGANTrainer", ToyTrainer)
    monkeypatch.setattr(running, "prepare", prepare_once)
    monkeypatch.setattr(report, "curves", lambda *_, **__: Figure((0.5, 0.5)))
