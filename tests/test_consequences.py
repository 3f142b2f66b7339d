"""What follows when a monitor fails in the course of a training: going back, stopping, and what the run says of it."""

import csv
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

import tfcyclegan3d as tc
from tests.test_killed_runs import assert_ended_alike, moments_of, put, toy_weights_of
from tests.tiny import TINY
from tests.toy import ToyTrainer
from tfcyclegan3d.config_monitors import MonitorsConfig
from tfcyclegan3d.training.probes import observe

SEVERE = ("collapse", "empty", "full", "inversion", "class_swap")
# Consequences as in a real training; of a toy's random masks only fullness is watched for.
CONFIG = TINY.replace(
    {
        "preprocessing.downsampling": [1, 2, 2],
        "training.epochs": 6,
        "training.steps_per_epoch": 2,
        "training.keep_checkpoints": 1,
        "monitors.full": {"threshold": 0.95, "consequence": "rollback", "patience": 2},
    }
)


@pytest.fixture(scope="module")
def stack():
    return tc.simulate_stack((20, 48, 52), seed=1).image


def rows_of(path):
    with (path / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def returns_of(run):
    manifest = json.loads((run.path / "manifest.json").read_text())
    return [(one["from_epoch"], one["to_epoch"]) for one in manifest["returns"]]


def diverging_at(index, rates):
    """A step whose losses are not finite at an index as long as the rate is one of some; and the rates it was given."""
    given = []

    def step(self, number, progress, rate):
        given.append((number, rate))
        losses = real(self, number, progress, rate)
        return dict.fromkeys(losses, float("nan")) if number == index and rate in rates else losses

    real = ToyTrainer.step
    return step, given


def full_from(epoch, rates):
    """What the networks make of the probes: everything is an object from an epoch on, as long as the rate is one."""

    def look(self):
        self.looks = getattr(self, "looks", 0) + 1
        value = np.float32(1.0) if self.n_steps >= 2 * epoch and self.rate in rates else np.float32(0.0)
        predicted = np.clip(self.probes.images + 2 * value + np.float32(0.1 * self._value.numpy()), -1, 1)
        return observe(self.probes, *[lambda batch: batch] * 4, predicted), {"raw": predicted}

    def step(self, number, progress, rate):
        self.n_steps = number + 1
        return real(self, number, progress, rate)

    real = ToyTrainer.step
    return look, step


def test_a_training_that_diverges_goes_back_and_on_with_half_the_rates(toy, stack, tmp_path, monkeypatch):
    step, given = diverging_at(5, rates=[1.0])
    monkeypatch.setattr(ToyTrainer, "step", step)
    run = tc.train([stack], None, CONFIG, tmp_path / "run", progress=False)
    assert (run.verdict, run.exit_status) == ("finished", 0)
    assert returns_of(run) == [(2, 2)]
    assert given == [(n, 1.0) for n in range(6)] + [(n, 0.5) for n in range(4, 12)]
    assert [int(row["epoch"]) for row in rows_of(run.path)] == [1, 2, 3, 4, 5, 6]
    assert any("went back from epoch 2 to 2: a loss is not finite at step 6" in warning for warning in run.warnings)
    assert "went back to epoch 2" in (run.path / "report.html").read_text()


def test_a_training_that_diverges_at_once_goes_back_to_its_beginning(toy, stack, tmp_path, monkeypatch):
    step, given = diverging_at(0, rates=[1.0, 0.5])
    monkeypatch.setattr(ToyTrainer, "step", step)
    run = tc.train([stack], None, CONFIG, tmp_path / "run", progress=False)
    assert run.verdict == "finished"
    assert given[:3] == [(0, 1.0), (0, 0.5), (0, 0.25)]
    assert returns_of(run) == [(0, 0), (0, 0)]


def test_a_training_that_diverges_again_and_again_ends_as_diverged(toy, stack, tmp_path, monkeypatch):
    step, _ = diverging_at(5, rates=[0.5**k for k in range(9)])
    monkeypatch.setattr(ToyTrainer, "step", step)
    run = tc.train([stack], None, CONFIG, tmp_path / "run", progress=False)
    assert (run.verdict, run.exit_status) == ("diverged", 3)
    assert returns_of(run) == [(2, 2)] * CONFIG.monitors.max_rollbacks
    assert (
        "not a finite number" in (run.path / "report.html").read_text()
        or "no longer a finite" in (run.path / "report.html").read_text()
    )


def test_a_failing_monitor_takes_the_training_back_to_the_last_good_epoch(toy, stack, tmp_path, monkeypatch):
    look, step = full_from(4, rates=[1.0])
    monkeypatch.setattr(ToyTrainer, "look", look)
    monkeypatch.setattr(ToyTrainer, "step", step)
    run = tc.train([stack], None, CONFIG, tmp_path / "run", progress=False)
    assert (run.verdict, run.exit_status) == ("finished", 0)
    assert returns_of(run) == [(5, 3)]
    assert [int(row["epoch"]) for row in rows_of(run.path)] == [1, 2, 3, 4, 5, 6]
    assert all(float(row["monitors/full"]) < 0.95 for row in rows_of(run.path))


def test_a_monitor_that_fails_whatever_the_rate_stops_the_training_and_a_good_epoch_is_kept(
    toy,
    stack,
    tmp_path,
    monkeypatch,
):
    look, step = full_from(4, rates=[0.5**k for k in range(9)])
    monkeypatch.setattr(ToyTrainer, "look", look)
    monkeypatch.setattr(ToyTrainer, "step", step)
    run = tc.train([stack], None, CONFIG, tmp_path / "run", progress=False)
    assert (run.verdict, run.exit_status) == ("stopped", 3)
    assert returns_of(run) == [(5, 3)] * 3
    assert json.loads((run.path / "manifest.json").read_text())["selected"]["epoch"] <= 3
    assert any(warning.startswith("stopped: the predicted masks") for warning in run.warnings)


def test_stopping_at_once_is_a_consequence_that_can_be_asked_for(toy, stack, tmp_path, monkeypatch):
    look, step = full_from(4, rates=[1.0])
    monkeypatch.setattr(ToyTrainer, "look", look)
    monkeypatch.setattr(ToyTrainer, "step", step)
    changes = {"monitors.full.consequence": "stop", "monitors.full.patience": 1, "training.start_fraction": 0.5}
    run = tc.train([stack], None, CONFIG.replace(changes), tmp_path / "run", progress=False)
    assert (run.verdict, run.exit_status, returns_of(run)) == ("stopped", 3, [])
    assert [int(row["epoch"]) for row in rows_of(run.path)] == [1, 2, 3, 4]


def test_networks_that_never_pass_end_the_run_as_failing_and_warnings_alone_do_not(
    toy,
    stack,
    tmp_path,
    monkeypatch,
):
    look, step = full_from(1, rates=[1.0])
    monkeypatch.setattr(ToyTrainer, "look", look)
    monkeypatch.setattr(ToyTrainer, "step", step)
    failing = tc.train([stack], None, CONFIG, tmp_path / "failing", progress=False)
    assert (failing.verdict, failing.exit_status, returns_of(failing)) == ("failing", 3, [])
    assert any("are full" in warning for warning in failing.warnings)
    assert "do not trust" in (failing.path / "report.html").read_text()
    config = CONFIG.replace({"monitors.full.consequence": "warn"})
    warned = tc.train([stack], None, config, tmp_path / "warned", progress=False)
    assert (warned.verdict, warned.exit_status) == ("finished", 0)
    assert any("are full" in warning for warning in warned.warnings)


def test_a_run_that_dies_while_it_goes_back_ends_as_if_it_had_not(toy, stack, tmp_path, monkeypatch):
    step, _ = diverging_at(5, rates=[1.0])
    monkeypatch.setattr(ToyTrainer, "step", step)
    with moments_of(tmp_path / "whole") as moments:
        whole = tc.train([stack], None, CONFIG, tmp_path / "whole", progress=False)
    begun = [moment for moment in moments if "config.json" in moment]
    assert len(begun) > 30
    for k, moment in enumerate(begun):
        left = put(tmp_path / f"left_{k}", moment)
        run = tc.train([stack], None, CONFIG, left, resume=True, progress=False)
        assert returns_of(run) == returns_of(whole), k
        assert_ended_alike(left, whole.path, 6, toy_weights_of)


def test_the_real_consequences_are_the_documented_ones():
    monitors = MonitorsConfig()
    assert [name for name in SEVERE if monitors.of(name).consequence == "rollback"] == list(SEVERE)
    assert monitors.divergence == "rollback"
