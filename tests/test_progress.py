"""Progress on stderr: its numbers fit into a narrow terminal, and its whole stays the same."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

from tests.tiny import TINY
from tfcyclegan3d.progress import progress_bar
from tfcyclegan3d.training import loop

GAN = {"adversarial_mask": 0.5, "adversarial_image": 0.5, "cycle_mask": 1.25, "cycle_image": 10.5, "critics": 0.25}


def shown(capsys, done, total, message, title="training", count=False):
    with progress_bar(title, count=count) as on_progress:
        on_progress(done, total, message)
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_every_number_of_a_training_fits_into_80_columns(capsys):
    config = TINY.replace({"training.epochs": 100, "training.steps_per_epoch": 216}).training
    message = loop._shown(loop.Clock(99, 21_500), config, GAN)
    assert message == "step 21500/21600 cycle 11.75 critics 0.25"
    line = shown(capsys, 9950, loop.PROGRESS_PARTS, message)
    assert len(line.rstrip()) <= 80
    assert line.rstrip().endswith(message)
    for part in ("training ", " 100% ", "0:00:00 left "):
        assert part in line


def test_a_count_fits_beside_the_longest_name(capsys):
    line = shown(capsys, 12, 340, "tiles", title="a_stack_with_a_name_longer_than_any_line_is_wide_" * 2, count=True)
    assert line.startswith("a_stack_with_a_name")
    assert "12/340" in line
    assert line.rstrip().endswith("tiles")


class Trainer:
    """Does steps of no work, each of which takes six seconds by the clock."""

    def __init__(self, config, seconds):
        self.config, self._seconds = config, seconds

    def step(self, index, progress):
        self._seconds[0] += 6
        return {"supervised": 0.5} if index < 3 else GAN


@pytest.mark.parametrize(("minutes", "n_steps"), [(None, 20), (1, 10)])
def test_the_share_done_rises_to_the_whole_by_steps_or_by_the_clock(monkeypatch, minutes, n_steps):
    config = TINY.replace({"training.epochs": 1, "training.steps_per_epoch": 20, "training.max_minutes": minutes})
    seconds, calls = [0.0], []
    monkeypatch.setattr(loop.time, "monotonic", lambda: seconds[0])
    trainer = Trainer(config, seconds)
    loop._train_epoch(trainer, loop.Clock(), 0.0, lambda *call: calls.append(call), lambda: False)
    shares = [done / total for done, total, _ in calls]
    assert len(calls) == n_steps
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert {total for _, total, _ in calls} == {loop.PROGRESS_PARTS}
    assert calls[0][2] == "step 1/20 start 0.50"
