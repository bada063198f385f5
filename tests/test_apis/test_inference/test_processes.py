"""Several processes share the images of one command."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from mmmaskdino.apis.inference.journal import FOLDER
from mmmaskdino.apis.inference.processes import launched_processes
from mmmaskdino.cli.main import main

EVERYTHING = ('pictures', 'instances', 'panoptic', 'semantic')
Start = Callable[..., list[multiprocessing.Process]]


@pytest.fixture
def argv(model_files, make_image: Callable[..., Path], tmp_path: Path) -> list[str]:
    """Of a prediction for images of several sizes, one of them broken."""
    for number in range(9):
        make_image(f'in/{number}.png', (40 + 8 * (number % 2), 50 + 3 * (number % 3)))
    (tmp_path / 'in' / '5.png').write_text('no image')
    files = model_files('panoptic')
    argv = ['predict', tmp_path / 'in', '--config', files.config, '--weights', files.weights, '--device', 'cpu']
    return [str(word) for word in [*argv, '--score-thr', '0', '--max-per-image', '3', '--save', *EVERYTHING]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts processes as torchrun does; their output goes to files."""

    def run(argv: list[str], rank: int, size: int, port: int) -> None:
        os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
        os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
        with open(tmp_path / f'output{rank}.txt', 'w') as output:
            sys.stdout = sys.stderr = output
            try:
                status = main(argv)
            except SystemExit as stop:
                print(stop.code if isinstance(stop.code, str) else '')
                status = stop.code if isinstance(stop.code, int) else 1
            except BaseException:
                traceback.print_exc()
                status = 3
            output.flush()
            os._exit(status)

    def start_all(argv: list[str], size: int) -> list[multiprocessing.Process]:
        with socket.create_server(('127.0.0.1', 0)) as probe:
            port = probe.getsockname()[1]
        context = multiprocessing.get_context('fork')  # the imports take longer than all the rest
        processes = [context.Process(target=run, args=(argv, rank, size, port)) for rank in range(size)]
        for process in processes:
            process.start()
        return processes

    return start_all


def content_of(folder: Path) -> dict[str, bytes]:
    """All files of a folder of results but its journal."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file() and FOLDER not in path.parts and not path.name.startswith('.')
    }


@pytest.mark.parametrize('batch_size', [1, 2])
def test_the_same_results_from_one_two_and_three(
    argv: list[str], start: Start, tmp_path: Path, batch_size: int
) -> None:
    argv = [*argv, '--batch-size', str(batch_size), '--out']
    assert main([*argv, str(tmp_path / 'one')]) == 1
    for size, out in ((2, tmp_path / 'two'), (3, tmp_path / 'three')):
        processes = start([*argv, str(out)], size)
        for process in processes:
            process.join(300)
        assert [process.exitcode for process in processes] == [1] * size  # the broken image
        assert content_of(out) == content_of(tmp_path / 'one')
        printed = [(tmp_path / f'output{rank}.txt').read_text() for rank in range(size)]
        assert f'8 image(s) done, 1 failed; results in {out}' in printed[0]
        assert printed[0].count('no result for') == 1
        assert not any('image(s) done' in text for text in printed[1:])
        for number in range(9):
            assert sum(f'{number}.png: ' in text.replace('in/', '') for text in printed) >= 1


def test_a_killed_process_costs_nothing_but_time(argv: list[str], start: Start, tmp_path: Path) -> None:
    argv = [*argv, '--out']
    assert main([*argv, str(tmp_path / 'whole')]) == 1
    out = tmp_path / 'out'
    processes = start([*argv, str(out)], 2)
    deadline = time.monotonic() + 120
    while not (out / FOLDER / '000001-1.jsonl').exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(processes[1].pid, signal.SIGKILL)
    for process in processes:
        process.join(300)
    assert processes[1].exitcode == -signal.SIGKILL and processes[0].exitcode == 1
    printed = (tmp_path / 'output0.txt').read_text()
    assert 'process 0 of 2 cannot go on: another process has ended' in printed
    assert 'prediction where it was with the same command' in printed.replace('\n', ' ')
    processes = start([*argv, str(out)], 3)
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [1, 1, 1]
    assert content_of(out) == content_of(tmp_path / 'whole')
    assert 'were there' in (tmp_path / 'output0.txt').read_text()


def test_what_is_wrong_is_said_once(argv: list[str], start: Start, tmp_path: Path) -> None:
    assert main([*argv, '--out', str(tmp_path / 'out')]) == 1
    processes = start([*argv, '--out', str(tmp_path / 'out'), '--overlap-thr', '0.5'], 2)
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [1, 1]
    assert 'test_cfg.overlap_thr was None, is 0.5' in (tmp_path / 'output0.txt').read_text()
    assert 'settings' not in (tmp_path / 'output1.txt').read_text()


def test_launchers() -> None:
    torchrun = dict(RANK='1', WORLD_SIZE='4', LOCAL_RANK='1', MASTER_ADDR='head', MASTER_PORT='29500')
    assert launched_processes(torchrun | dict(HOME='/')) == torchrun
    assert launched_processes(torchrun | dict(WORLD_SIZE='1')) == {}
    slurm = dict(SLURM_PROCID='3', SLURM_STEP_NUM_TASKS='8', SLURM_LOCALID='1', SLURM_JOB_ID='50007')
    found = launched_processes(slurm | dict(SLURM_STEP_NODELIST='node[01-04]', MASTER_ADDR='node01'))
    assert found == dict(RANK='3', WORLD_SIZE='8', LOCAL_RANK='1', MASTER_ADDR='node01', MASTER_PORT='30007')
    # A shell in a job of eight tasks is one process.
    assert launched_processes(dict(SLURM_PROCID='0', SLURM_NTASKS='8', SLURM_STEP_NUM_TASKS='1')) == {}


def test_slurm_says_the_first_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = dict(SLURM_PROCID='0', SLURM_STEP_NUM_TASKS='2', SLURM_STEP_NODELIST='node[07-08]')
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(ValueError, match=r'scontrol cannot name the nodes node\[07-08\] .*; set MASTER_ADDR'):
        launched_processes(slurm)
    command = tmp_path / 'scontrol'
    command.write_text('#!/bin/sh\n[ "$*" = "show hostname node[07-08]" ] && echo node07 && echo node08\n')
    command.chmod(0o755)
    assert launched_processes(slurm)['MASTER_ADDR'] == 'node07'
