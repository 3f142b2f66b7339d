"""Progress in terminals, files and notebooks: its numbers fit into a narrow terminal, and its whole stays the same."""

import io
import logging
import math
import os
import re
import sys
import types
from contextlib import contextmanager

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

from tests.tiny import TINY
from tfcyclegan3d import progress
from tfcyclegan3d.progress import progress_bar
from tfcyclegan3d.training import loop
from tfcyclegan3d.training.course import Clock, Course
from tfcyclegan3d.training.cyclegan_trainer import CycleGANTrainer
from tfcyclegan3d.training.distribution import Distribution
from tfcyclegan3d.training.pace import ADVERSARIAL_COST, Pace, step_message
from tfcyclegan3d.training.watch import Watch

GAN = {"adversarial_mask": 0.5, "adversarial_image": 0.5, "cycle_mask": 1.25, "cycle_image": 10.5, "critics": 0.25}
EVERY_LOSS = GAN | {"identity_mask": 0.123456, "identity_image": 0.2, "supervised": 1.23456}
LONG = TINY.replace({"training.epochs": 100, "training.steps_per_epoch": 216}).training

CONTROLS = r"\x1b\[[0-9;?]*[A-Za-z]|\r"


class Terminal(io.StringIO):
    def isatty(self):
        return True

    @property
    def lines(self):
        """What stands on the screen at the end."""
        last_frame = re.sub(CONTROLS, "", self.getvalue().split("\x1b[2K")[-1])
        return [line.rstrip() for line in last_frame.splitlines() if line.strip()]

    @contextmanager
    def as_stderr(self):
        """Be it within the test, since pytest puts its own in place after the fixtures."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stderr", self)
            patch.setattr(sys, "__stderr__", self)
            yield


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 80 columns."""
    for name, value in {"COLUMNS": "80", "LINES": "25", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets: a list of the seconds passed."""
    seconds = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds[0])
    return seconds


def pace_of(seconds, phase="cyclegan"):
    pace = Pace()
    for i in range(3):
        pace.note(phase, seconds, (i + 1) * seconds)
    return pace


# ---- in a terminal


@pytest.mark.parametrize("seconds", [0.3, 12.3456, 0.0123456])
def test_every_number_and_loss_of_a_training_fits_into_80_columns(terminal, seconds):
    message = step_message(21_500, LONG, "cyclegan", EVERY_LOSS, pace_of(seconds))
    with terminal.as_stderr(), progress_bar("training", count=False) as on_progress:
        on_progress(9950, loop.PROGRESS_PARTS, message, 45_678.0)
    bar, below = terminal.lines
    assert len(bar) <= 80
    assert len(below) <= 80
    rate = {0.3: "3.33 steps/s", 12.3456: "12.3 s/step", 0.0123456: "81 steps/s"}[seconds]
    for part in ("training ", " 100% ", " 0:00:00 left 12:41:18 cyclegan 21500/21600 ", rate):
        assert part in bar
    assert below == "adversarial 1  cycle 11.8  identity 0.323  critics 0.25  supervised 1.23"


def test_a_count_fits_beside_the_longest_name(terminal):
    with terminal.as_stderr(), progress_bar("a_stack_with_a_name_longer_than_any_line_is_wide_" * 2) as on_progress:
        on_progress(12, 340, "tiles")
    (line,) = terminal.lines
    assert line.startswith("a_stack_with_a_name")
    assert "12/340" in line
    assert line.endswith("tiles")


def test_the_log_stands_above_the_bar_while_it_is_shown_and_as_before_afterwards(terminal):
    handler = logging.StreamHandler(terminal)
    logging.getLogger().addHandler(handler)
    try:
        with terminal.as_stderr(), progress_bar("training") as on_progress:
            on_progress(1, 2, "steps\nlosses")
            logging.getLogger("tfcyclegan3d").warning("something was found")
        assert handler.stream is terminal
    finally:
        logging.getLogger().removeHandler(handler)
    (line,) = [line for line in terminal.getvalue().splitlines() if "something was found" in line]
    assert re.sub(CONTROLS, "", line).strip() == "something was found"
    assert len(terminal.lines) == 2


# ---- where stderr is no terminal


def test_a_file_gets_plain_lines_now_and_then_and_the_last_one_once(capsys, clock):
    with progress_bar("training", count=False) as on_progress:
        for done in range(1, 101):
            clock[0] += 4
            on_progress(done, 100, f"step {done}\nloss 0.5", 4.0 * (100 - done))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training: 5 % in 0:00:20, 0:06:20 left; step 5; loss 0.5"
    assert [int(re.search(r"step (\d+)", line)[1]) for line in lines] == list(range(5, 101, 5))


def test_a_file_gets_no_control_characters_even_where_colours_are_asked_for(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bar("stack [red] 1") as on_progress:
        on_progress(1, 4, "tiles")
        on_progress(3, 4, "tiles")
    assert re.fullmatch(r"stack \[red\] 1: 3/4 in 0:00:0\d, 0:00:0\d left; tiles\n", capsys.readouterr().err)


def test_a_file_gets_a_line_of_what_is_slow_every_ten_minutes(capsys, clock):
    with progress_bar("training") as on_progress:
        for done in range(1, 31):
            clock[0] += 60
            on_progress(done, 10_000, "steps")
    said = [int(line.split()[1].split("/")[0]) for line in capsys.readouterr().err.splitlines()]
    assert said == [10, 20, 30]


@pytest.mark.parametrize("show", [True, False])
def test_nothing_is_said_of_nothing_or_where_nobody_wants_it(capsys, show):
    with progress_bar("training", show) as on_progress:
        if not show:
            on_progress(1, 1, "steps")
    assert capsys.readouterr().err == ""


def test_what_failed_leaves_the_line_it_came_to(capsys):
    with pytest.raises(KeyboardInterrupt), progress_bar("training") as on_progress:
        on_progress(3, 4, "steps")
        raise KeyboardInterrupt
    assert capsys.readouterr().err.startswith("training: 3/4 ")


# ---- in a notebook


def test_a_notebook_gets_one_bar_that_moves_without_widgets(monkeypatch, clock, capsys):
    shown, updates = [], []

    def display(bundle, raw, display_id):
        assert raw and display_id
        shown.append(bundle)
        return types.SimpleNamespace(update=lambda bundle, raw: updates.append(bundle))

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=None)
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    with progress_bar("training", count=False) as on_progress:
        for done in range(1, 11):
            clock[0] += 0.2
            on_progress(done, 10, f"<step> {done}\nloss 0.5", 0.2 * (10 - done))
    assert len(shown) == 1
    assert [re.search(r"step> (\d+)", bundle["text/plain"])[1] for bundle in updates] == ["3", "6", "9", "10"]
    assert 'value="0.6000"' in updates[1]["text/html"]
    assert "60 % in 0:00:01, 0:00:01 left &nbsp; &lt;step&gt; 6<br>loss 0.5" in updates[1]["text/html"]
    assert capsys.readouterr().err == ""


def test_a_terminals_ipython_is_no_notebook(monkeypatch, terminal):
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    with terminal.as_stderr(), progress_bar("training") as on_progress:
        on_progress(1, 2, "steps")
    assert "1/2" in terminal.lines[-1]


# ---- of a training


def test_the_time_left_counts_steps_without_that_which_builds_the_graph_but_with_what_lies_between_them():
    pace = Pace()
    pace.note("start", 30.0, 40.0)
    assert pace.seconds_left(1, LONG) == math.inf
    for i in range(1, 11):  # Steps of one second and a second between them.
        pace.note("start", 1.0, 40.0 + 2 * i)
    # Those of the adversarial part will last longer; how long, nobody has seen.
    n_begun = LONG.start_fraction * 21_600
    assert pace.seconds_left(11, LONG) == pytest.approx(2 * (n_begun - 11 + ADVERSARIAL_COST * (21_600 - n_begun)))
    assert pace.seconds_left(21_599, LONG) == pytest.approx(2 * ADVERSARIAL_COST)
    assert pace.rate == "1 s/step"
    pace.note("cyclegan", 60.0, 120.0)
    assert pace.seconds_left(12, LONG) == math.inf
    pace.note("cyclegan", 4.0, 124.0)
    assert pace.seconds_left(13, LONG) == pytest.approx(4 * (21_600 - 13))
    assert pace.end_epoch() == 1.0
    pace.note("cyclegan", 5.0, 130.0)
    assert pace.end_epoch() == 5.0


def test_the_time_left_is_what_max_minutes_leaves_where_that_is_less():
    short = TINY.replace({"training.epochs": 10, "training.steps_per_epoch": 10, "training.max_minutes": 1}).training
    pace = pace_of(0.25)
    assert pace.seconds_left(3, short) == pytest.approx(0.25 * 97)
    slow = pace_of(10.0)
    assert slow.seconds_left(3, short) == pytest.approx(30.0)
    assert pace_of(25.0).seconds_left(3, short) == 0
    assert pace_of(25.0).seconds_left(100, short) == 0


class Trainer:
    """Does steps of no work, each of which takes six seconds by the clock."""

    distribution = Distribution()
    phase_of = CycleGANTrainer.phase_of

    def __init__(self, config, seconds):
        self.config, self._seconds = config, seconds

    def step(self, index, progress, rate):
        self._seconds[0] += 6
        return {"supervised": 0.5} if index < 3 else GAN


@pytest.mark.parametrize(("minutes", "n_steps"), [(None, 20), (1, 10)])
def test_the_share_done_rises_to_the_whole_by_steps_or_by_the_clock(monkeypatch, minutes, n_steps):
    config = TINY.replace({"training.epochs": 1, "training.steps_per_epoch": 20, "training.max_minutes": minutes})
    seconds, calls = [0.0], []
    monkeypatch.setattr(loop.time, "monotonic", lambda: seconds[0])
    trainer = Trainer(config, seconds)
    course = Course(Clock(), Watch(config.monitors), None)
    loop._train_epoch(trainer, course, 0.0, Pace(), lambda *call: calls.append(call), lambda: False)
    shares = [done / total for done, total, *_ in calls]
    assert len(calls) == n_steps
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert {total for _, total, *_ in calls} == {loop.PROGRESS_PARTS}
    assert calls[0][2] == "start 1/20 6 s/step\nsupervised 0.5"
    assert calls[1][3] == pytest.approx((14 + 4 * ADVERSARIAL_COST) * 6 if minutes is None else 60 - 2 * 6)
    assert calls[-1][3] == 0
