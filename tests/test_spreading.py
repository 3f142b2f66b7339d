"""Blocks spread over processes: the result of one process, whoever dies on the way, and faults told in one line."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import threading
import time

import numpy as np
import pytest

from tfcyclegan3d import errors
from tfcyclegan3d.cli.main import main
from tfcyclegan3d.inference import spreading
from tfcyclegan3d.inference.spreading import Scheduler, divided
from tfcyclegan3d.inference.whole_stacks import WORKSPACES
from tfcyclegan3d.models.resnet_generator import resnet_generator
from tfcyclegan3d.quiet_tensorflow import import_quietly
from tfcyclegan3d.volumes import Volume, read_volume, write_volume

from .test_frozen import lively
from .tiny import TINY

SHAPE = (12, 90, 110)
N_BLOCKS = 30
CONFIG = TINY.replace({"classes": ["golgi", "nuclei"], "preprocessing.downsampling": [1, 1, 1], "inference.halo": 8})
TILE = ("--tile", "12,36,36")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Stand in a folder with a run and a stack."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    lively(resnet_generator(2, 2, filters=4, blocks=1, end_kernel=3)).save(run / "image_to_mask.keras")
    CONFIG.save(run / "config.json")
    array = np.random.default_rng(3).gamma(2.0, 40.0, (*SHAPE, 2)).astype(np.uint16)
    write_volume(tmp_path / "cells.tif", Volume(array, (0.5, 0.2, 0.2), "cells"))
    return tmp_path


@pytest.fixture(scope="module")
def cluster():
    from distributed import LocalCluster

    with LocalCluster(**spreading._own(2)) as two:
        yield two


def predict(*arguments):
    return main([*map(str, ("predict", "run", "--images", "cells.tif", "--quiet", *TILE, *arguments))])


def one_line(capsys, *said):
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1, error
    for text in said:
        assert text in error


def slowly():
    """Let the worker that this is sent to take its time over every block."""
    import_quietly()
    from tfcyclegan3d.inference.workspace import Workspace

    real = Workspace.note

    def note(self, number):
        time.sleep(0.2)
        real(self, number)

    Workspace.note = note
    return os.getpid()


def test_what_two_workers_make_is_what_one_process_makes_though_one_is_killed(here, cluster):
    """The dead worker's blocks are done again, by the other or by the one that takes its place."""
    from distributed import Client

    noted, killed = here / "out" / WORKSPACES / "cells" / "done", []
    with Client(cluster, set_as_default=False) as client:
        processes, done = client.run(slowly), threading.Event()
        assert len(processes) == 2

        def kill():
            while not killed and not done.is_set():
                working = [worker for worker, tasks in client.processing().items() if tasks]
                if noted.is_dir() and len(list(noted.iterdir())) >= N_BLOCKS // 3 and working:
                    killed.append((processes[working[0]], len(list(noted.iterdir()))))
                    os.kill(killed[0][0], signal.SIGKILL)
                time.sleep(0.05)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        assert predict("-o", "out", "--probabilities", "--scheduler", cluster.scheduler_address) == 0
        done.set()
        killer.join(5)
    assert N_BLOCKS // 3 <= killed[0][1] < N_BLOCKS
    assert predict("-o", "alone", "--probabilities") == 0
    for kind in ("mask", "probability"):
        spread, alone = (read_volume(here / folder / f"cells_{kind}.tif").array for folder in ("out", "alone"))
        np.testing.assert_allclose(spread, alone, atol=0 if kind == "mask" else 1e-6)
    assert spread.std() > 0.01
    assert sorted(path.name for path in (here / "out").iterdir()) == sorted(
        path.name for path in (here / "alone").iterdir()
    )


def test_a_worker_that_cannot_see_the_files_says_which(here, cluster, capsys, monkeypatch):
    real = spreading.make_part

    def elsewhere(job, folder, numbers, version):
        import dataclasses

        return real(dataclasses.replace(job, model="/not/there/run"), folder, numbers, version)

    monkeypatch.setattr(spreading, "make_part", elsewhere)
    assert predict("-o", "out", "--scheduler", cluster.scheduler_address) == 2
    one_line(capsys, "worker on", "cannot see /not/there/run", "by that path")
    assert not (here / "out").exists()


def test_a_fault_in_a_worker_is_told_as_one_here_and_nothing_is_left(here, cluster, capsys):
    write_volume(here / "cells.zarr", read_volume(here / "cells.tif"))
    first = main(["predict", "run", "--images", "cells.zarr", "-o", "whole", "--quiet", *TILE])
    assert first == 0

    def damage(job, folder, numbers, version):
        chunk = max(path for path in (here / "cells.zarr" / "0" / "c").rglob("*") if path.is_file())
        chunk.write_bytes(chunk.read_bytes()[:-5])
        return spreading.make_part(job, folder, numbers, version)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spreading, "make_part", damage)
        scheduler = cluster.scheduler_address
        status = main(
            ["predict", "run", "--images", "cells.zarr", "-o", "out", "--quiet", *TILE, "--scheduler", scheduler]
        )
    assert status == 2
    one_line(capsys, "cells.zarr", "chunk")
    assert not (here / "out").exists()


def test_after_the_scheduler_is_lost_the_same_command_goes_on_with_the_blocks_that_are_made(here, cluster, capsys):
    def lost(client, remaining):
        """Yield two parts, then lose the scheduler."""
        from distributed import wait
        from distributed.comm import CommClosedError

        for _ in range(2):
            done = wait(remaining, return_when="FIRST_COMPLETED").done
            remaining -= done
            yield from done
        raise CommClosedError("closed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spreading, "_ended", lost)
        assert predict("-o", "out", "--scheduler", cluster.scheduler_address) == 2
    one_line(capsys, "cannot be reached any more", "give the same command again")
    made = len(list((here / "out" / WORKSPACES / "cells" / "done").iterdir()))
    assert made >= 2
    assert predict("-o", "out") == 0
    assert f"{made} blocks were there" in capsys.readouterr().out
    assert predict("-o", "alone") == 0
    np.testing.assert_array_equal(
        *(read_volume(here / folder / "cells_mask.tif").array for folder in ("out", "alone")),
    )
    assert not (here / "out" / WORKSPACES).exists()


def test_a_cluster_of_ones_own_makes_the_same(here):
    assert predict("-o", "out", "--scheduler", "local:1") == 0
    assert predict("-o", "alone") == 0
    np.testing.assert_array_equal(
        *(read_volume(here / folder / "cells_mask.tif").array for folder in ("out", "alone")),
    )


def test_workers_are_counted_whatever_the_client_looks_up_meanwhile(cluster):
    """Its own look at the scheduler, every other second and here all the time, keeps no workers."""
    import dask
    from distributed import Client

    with dask.config.set({"distributed.client.scheduler-info-interval": "1ms"}):
        client = Client(cluster.scheduler_address, set_as_default=False)
    with client:
        client.wait_for_workers(2)
        seen = {len(spreading._addresses(client)) for _ in range(500)}
    assert seen == {2}


def test_a_scheduler_that_is_gone_before_the_first_block_is_said():
    class Gone:
        def wait_for_workers(self, n_workers, timeout):
            pass

        def nthreads(self):
            raise OSError("closed")

    with pytest.raises(errors.ClusterError, match="cannot be reached any more") as caught:
        spreading._wait_for_workers(Gone())
    assert "give the same command again" in caught.value.remedy


def test_a_scheduler_that_is_not_there_is_said(here, capsys, monkeypatch):
    monkeypatch.setattr(spreading, "CONNECTING", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    assert predict("-o", "out", "--scheduler", address) == 2
    one_line(capsys, address, "cannot be reached", "dask scheduler", "local:N")
    assert not (here / "out").exists()


def test_a_program_that_is_no_scheduler_is_said(here, capsys, monkeypatch):
    """Such as the dashboard, whose address a scheduler prints beside its own."""
    monkeypatch.setattr(spreading, "CONNECTING", 5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            while True:
                try:
                    caller, _ = server.accept()
                except OSError:
                    return
                with caller:
                    caller.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert predict("-o", "out", "--scheduler", address) == 2
        server.shutdown(socket.SHUT_RDWR)
    one_line(capsys, address, "cannot be reached", "dask scheduler", "local:N")
    assert not (here / "out").exists()


def test_a_scheduler_without_workers_is_said(here, capsys, monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setattr(spreading, "WITHOUT_WORKERS", 1)
    with LocalCluster(**spreading._own(1) | {"n_workers": 0}) as empty:
        assert predict("-o", "out", "--scheduler", empty.scheduler_address) == 2
    one_line(capsys, "no worker", "dask worker")
    assert not (here / "out").exists()


def test_the_extra_is_named_where_it_is_not_installed(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert predict("-o", "out", "--scheduler", "local:2") == 2
    one_line(capsys, "--scheduler", "pip install 'tfcyclegan3d[distributed]'")
    assert not (here / "out").exists()


@pytest.mark.parametrize("text", ["", "tcp://", "tcp://host", "local:0", "local:", "local:two", "somewhere"])
def test_what_is_no_scheduler_is_refused(here, capsys, text):
    if text:
        assert predict("-o", "out", "--scheduler", text) == 2
        one_line(capsys, f"--scheduler: received {text!r}", "tcp://HOST:PORT, local or local:N")
    with pytest.raises(errors.OptionError):
        Scheduler.parse(text)


def test_what_a_scheduler_may_be(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 32)
    assert Scheduler.parse("local") == Scheduler(None, 4)
    assert Scheduler.parse("local:3") == Scheduler(None, 3)
    assert Scheduler.parse("tcp://10.0.0.1:8786").address == "tcp://10.0.0.1:8786"
    assert Scheduler.parse("tls://[::1]:8786").address == "tls://[::1]:8786"


@pytest.mark.parametrize(("n_blocks", "n_workers"), [(1, 1), (7, 2), (165, 2), (1000, 3), (5, 40)])
def test_parts_hold_every_block_once_and_are_some_for_every_worker(n_blocks, n_workers):
    numbers = list(range(3, 3 + n_blocks))
    parts = divided(numbers, n_workers)
    assert [number for part in parts for number in part] == numbers
    assert max(map(len, parts)) <= spreading.MOST_AT_ONCE
    assert len(parts) >= min(n_blocks, spreading.TURNS * n_workers)


@pytest.mark.parametrize(
    "error",
    [
        errors.FileMissingError("here.tif"),
        errors.UnreadableFileError("here.zarr", "chunk 0/1"),
        errors.OutputError("out", "No space left on device"),
        errors.ClusterError("what", "do"),
    ],
)
def test_errors_come_from_another_process_as_they_were(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.what, again.remedy) == (type(error), str(error), error.what, error.remedy)
