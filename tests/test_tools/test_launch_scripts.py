"""The shell scripts: the command lines they build, and a run in two processes on the CPU."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

TOY = """
import torch
from mmengine.model import BaseModel
from mmengine.registry import METRICS, MODELS, DATASETS
from mmengine.evaluator import BaseMetric
from torch.utils.data import Dataset

@MODELS.register_module()
class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(self.layer.weight)

    def forward(self, inputs, mode):
        inputs = torch.stack(inputs)
        error = (self.layer(inputs) - inputs).square().mean()
        return {'loss': error} if mode == 'loss' else [{'weight': self.layer.weight.detach().item()}] * len(inputs)

@DATASETS.register_module()
class Numbers(Dataset):
    metainfo = {}
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {'inputs': torch.full((1,), float(index))}

@METRICS.register_module()
class Weight(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.extend(sample['weight'] for sample in data_samples)

    def compute_metrics(self, results):
        return {'weight': results[0], 'images': float(len(results))}
"""
CONFIG = """
custom_imports = dict(imports=['toy_classes'])
model = dict(type='Toy')
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(type='Numbers'), sampler=dict(type='DefaultSampler', shuffle=False))
val_dataloader = test_dataloader = train_dataloader
train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = test_cfg = dict()
val_evaluator = test_evaluator = dict(type='Weight')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.25))
"""


@pytest.fixture
def run_script(project_root: Path, tmp_path: Path):
    """Runs a script of tools/; `python` and `srun` print their arguments unless other variables are given."""
    echo = '#!/usr/bin/env bash\nprintf "%s\\n" "$(basename "$0")" "OMP=${OMP_NUM_THREADS:-}" "$@"\n'
    for name in ('python', 'srun'):
        path = tmp_path / 'bin' / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(echo)
        path.chmod(0o755)

    def _run_script(name: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        kept = {key: value for key, value in os.environ.items() if key not in ('OMP_NUM_THREADS', 'PYTHON', 'PORT')}
        path = f'{tmp_path / "bin"}{os.pathsep}{os.environ["PATH"]}'
        command = [str(project_root / 'tools' / name), *arguments]
        return subprocess.run(
            command, env={**kept, 'PATH': path, **variables}, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return _run_script


def test_dist_train_command(run_script, project_root: Path) -> None:
    result = run_script('dist_train.sh', 'a config.py', '1', '--amp', '--cfg-options', 'a.b=1')
    assert result.returncode == 0, result.stderr
    python, omp, *arguments = result.stdout.splitlines()
    assert (python, omp) == ('python', f'OMP={os.cpu_count()}')
    assert arguments == [
        *('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '1'),
        *(str(project_root / 'tools' / 'train.py'), 'a config.py', '--amp', '--cfg-options', 'a.b=1'),
        *('--launcher', 'pytorch'),
    ]


def test_dist_test_command_on_several_machines(run_script, project_root: Path) -> None:
    variables = {'NNODES': '2', 'NODE_RANK': '1', 'MASTER_ADDR': 'head', 'PORT': '1234', 'OMP_NUM_THREADS': '3'}
    result = run_script('dist_test.sh', 'c.py', 'c.pth', '8', **variables)
    _, omp, *arguments = result.stdout.splitlines()
    assert omp == 'OMP=3'
    assert arguments == [
        *('-m', 'torch.distributed.run', '--nnodes', '2', '--node_rank', '1', '--master_addr', 'head'),
        *('--master_port', '1234', '--nproc_per_node', '8', str(project_root / 'tools' / 'test.py')),
        *('c.py', 'c.pth', '--launcher', 'pytorch'),
    ]


def test_slurm_train_command(run_script, project_root: Path) -> None:
    variables = {'GPUS': '4', 'SRUN_ARGS': '--time=1:00 --exclusive'}
    result = run_script('slurm_train.sh', 'gpu', 'job', 'c.py', 'out', '--amp', **variables)
    srun, _, *arguments = result.stdout.splitlines()
    assert srun == 'srun'
    assert arguments == [
        *('--partition=gpu', '--job-name=job', '--gres=gpu:4', '--ntasks=4', '--ntasks-per-node=4'),
        *('--cpus-per-task=5', '--kill-on-bad-exit=1', '--time=1:00', '--exclusive', 'python', '-u'),
        *(str(project_root / 'tools' / 'train.py'), 'c.py', '--work-dir', 'out', '--amp', '--launcher', 'slurm'),
    ]


def test_slurm_test_command(run_script, project_root: Path) -> None:
    result = run_script('slurm_test.sh', 'gpu', 'job', 'c.py', 'c.pth', GPUS='16')
    arguments = result.stdout.splitlines()[2:]
    assert arguments[2:5] == ['--gres=gpu:8', '--ntasks=16', '--ntasks-per-node=8']
    assert arguments[-5:] == [str(project_root / 'tools' / 'test.py'), 'c.py', 'c.pth', '--launcher', 'slurm']


@pytest.mark.parametrize(
    ('name', 'arguments'),
    [
        ('dist_train.sh', ['c.py']),
        ('dist_test.sh', ['c.py', 'c.pth']),
        ('slurm_train.sh', ['gpu', 'job', 'c.py']),
        ('slurm_test.sh', ['gpu', 'job', 'c.py']),
        ('quickstart.sh', ['--seed']),
        ('quickstart.sh', ['--seed', 'one']),
        ('setup_env.sh', ['newest']),
    ],
)
def test_missing_arguments_show_the_usage(run_script, name: str, arguments: list[str]) -> None:
    result = run_script(name, *arguments)
    assert result.returncode == 2
    assert f'usage: tools/{name}' in result.stderr


def test_the_quick_start_helps(run_script) -> None:
    result = run_script('quickstart.sh', '--help')
    assert result.returncode == 0 and 'usage: tools/quickstart.sh [--task' in result.stdout


def test_number_of_processes_must_be_one(run_script) -> None:
    result = run_script('dist_train.sh', 'c.py', '--amp')
    assert result.returncode == 2
    assert "got '--amp'" in result.stderr


def test_two_nodes_differ_in_their_rank_alone(run_script) -> None:
    common = {'NNODES': '2', 'MASTER_ADDR': 'node0', 'PORT': '1234', 'OMP_NUM_THREADS': '1'}
    commands = [run_script('dist_train.sh', 'c.py', '8', NODE_RANK=str(rank), **common).stdout for rank in range(2)]
    assert [line for line in commands[0].splitlines() if line.isdigit()] == ['2', '0', '1234', '8']
    assert commands[1] == commands[0].replace('--node_rank\n0\n', '--node_rank\n1\n')


def test_slurm_takes_as_many_nodes_as_the_gpus_need(run_script) -> None:
    result = run_script('slurm_train.sh', 'gpu', 'job', 'c.py', 'out', GPUS='6', GPUS_PER_NODE='3', CPUS_PER_TASK='7')
    arguments = result.stdout.splitlines()[2:]
    assert arguments[2:7] == [
        *('--gres=gpu:3', '--ntasks=6', '--ntasks-per-node=3', '--cpus-per-task=7', '--kill-on-bad-exit=1')
    ]


@pytest.mark.slow
def test_two_nodes_train_together(run_script, tmp_path: Path) -> None:
    """Both on this machine, one process each: the gradient is that of all images."""
    (tmp_path / 'toy_classes.py').write_text(TOY)
    (tmp_path / 'toy.py').write_text(CONFIG)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    variables = {'PYTHON': sys.executable, 'PYTHONPATH': str(tmp_path), 'CUDA_VISIBLE_DEVICES': '-1'}
    variables |= {'NNODES': '2', 'MASTER_ADDR': '127.0.0.1', 'PORT': str(port)}

    def run_node(rank: int) -> subprocess.CompletedProcess:
        work_dir = ('--work-dir', f'work_{rank}')
        return run_script('dist_train.sh', 'toy.py', '1', *work_dir, NODE_RANK=str(rank), **variables)

    with ThreadPoolExecutor() as pool:
        for result in pool.map(run_node, range(2)):
            assert result.returncode == 0, result.stderr
    weight = torch.load(tmp_path / 'work_0' / 'epoch_1.pth', weights_only=False)['state_dict']['layer.weight']
    assert weight.item() == pytest.approx(0.25 * 2 * (0 + 1 + 4 + 9) / 4)
    assert not (tmp_path / 'work_1' / 'epoch_1.pth').exists()


@pytest.mark.slow
def test_two_processes_on_the_cpu_train_and_evaluate(run_script, tmp_path: Path) -> None:
    """Gradients are averaged over the ranks, and each image is evaluated once."""
    (tmp_path / 'toy_classes.py').write_text(TOY)
    (tmp_path / 'toy.py').write_text(CONFIG)
    variables = {'PYTHON': sys.executable, 'PYTHONPATH': str(tmp_path), 'CUDA_VISIBLE_DEVICES': '-1'}
    result = run_script('dist_train.sh', 'toy.py', '2', '--work-dir', 'work', **variables)
    assert result.returncode == 0, result.stderr
    # One step from weight 0 on 0, 1, 2, 3: the gradient is -2 * mean of squares.
    expected = 0.25 * 2 * (0 + 1 + 4 + 9) / 4
    result = run_script('dist_test.sh', 'toy.py', 'work/epoch_1.pth', '2', '--work-dir', 'test', **variables)
    assert result.returncode == 0, result.stderr
    (metrics,) = (tmp_path / 'test').glob('*/*.json')
    scores = json.loads(metrics.read_text())
    assert scores['weight'] == pytest.approx(expected)
    assert scores['images'] == 4
