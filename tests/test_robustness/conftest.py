"""Short trainings of the quick start's model, each in a process of its own that a test may kill."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmmaskdino.apis import prepare_launcher, process_group
from mmmaskdino.apis.launch import build_runner
from mmmaskdino.datasets.shapes import make_shapes_dataset

NO_EVALUATION = dict.fromkeys(('val_cfg', 'val_dataloader', 'val_evaluator', 'test_cfg', 'test_dataloader'))


@pytest.fixture(scope='session')
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of eight small training images and two for validation."""
    return make_shapes_dataset(tmp_path_factory.mktemp('shapes'), 8, 2, size=64, progress=False)


class Losses(Hook):
    """Writes the losses of each iteration to a file, so that they outlive the process."""

    priority = 'HIGHEST'

    def __init__(self, path: Path) -> None:
        self.path = path

    def after_train_iter(self, runner: Runner, *args, outputs: dict | None = None, **kwargs) -> None:
        losses = {name: float(value) for name, value in outputs.items()}
        with open(self.path, 'a') as file:
            file.write(json.dumps([runner.iter, losses]) + '\n')


@pytest.fixture
def make_config(
    project_root: Path, shapes: Path, tmp_path: Path, shrink: Callable[[Config], Config]
) -> Callable[..., Config]:
    """The quick start's config with a small model, for a few iterations on the small images; changes by dotted key."""

    def make(work_dir: str, changes: dict | None = None) -> Config:
        cfg = shrink(Config.fromfile(project_root / 'configs' / 'maskdino' / 'maskdino_r18_shapes_panoptic.py'))
        cfg.merge_from_dict(NO_EVALUATION | {'test_evaluator': None})
        options = {
            'work_dir': str(tmp_path / work_dir),
            'experiment_name': f'{tmp_path.name}_{work_dir}_{len(os.listdir(tmp_path))}',
            'log_level': 'WARNING',
            'train_dataloader': dict(num_workers=0, persistent_workers=False, batch_size=2),
            'train_dataloader.dataset.data_root': f'{shapes}/',
            'train_cfg.max_iters': 6,
            'default_hooks.checkpoint': dict(interval=2, max_keep_ckpts=1),
        }
        cfg.merge_from_dict(options)
        cfg.merge_from_dict(copy.deepcopy(changes or {}))  # which takes keys such as _delete_ out of them
        return cfg

    return make


@pytest.fixture
def evaluated(project_root: Path, shapes: Path) -> Callable[..., dict]:
    """Changes of a config that has no evaluation, and others besides: one after two iterations each."""

    def changes(**others) -> dict:
        cfg = Config.fromfile(project_root / 'configs' / 'maskdino' / 'maskdino_r18_shapes_panoptic.py')
        loader = cfg.val_dataloader.to_dict() | dict(_delete_=True, num_workers=0, persistent_workers=False)
        loader['dataset']['data_root'] = f'{shapes}/'
        metrics = [metric.to_dict() for metric in cfg.val_evaluator if metric.type == 'PanopticQualityMetric']
        for key in ('ann_file', 'seg_prefix'):
            metrics[0][key] = metrics[0][key].replace(cfg.data_root, f'{shapes}/')
        loop = dict(_delete_=True, type='ValLoop')
        return dict(val_cfg=loop, val_dataloader=loader, val_evaluator=metrics) | {'train_cfg.val_interval': 2} | others

    return changes


@pytest.fixture
def start(make_config: Callable[..., Config], tmp_path: Path) -> Callable[..., multiprocessing.Process]:
    """Starts a training in another process; what it says on the way out is in `<work dir>.txt`."""

    def _start(work_dir: str, changes: dict | None = None, hooks: tuple[Hook, ...] = ()) -> multiprocessing.Process:
        cfg = make_config(work_dir, changes)
        hooks = (*hooks, Losses(tmp_path / f'{work_dir}.jsonl'))
        process = multiprocessing.get_context('fork').Process(
            target=_train, args=(cfg, hooks, tmp_path / f'{work_dir}.txt')
        )
        process.start()
        return process

    return _start


@pytest.fixture
def start_ranks(make_config: Callable[..., Config], tmp_path: Path) -> Callable[..., list[multiprocessing.Process]]:
    """Starts one training in several processes, `hooks` by rank; what they leave behind is in `<work dir>_<rank>.*`."""

    def _start(
        work_dir: str, num_ranks: int, changes: dict | None = None, hooks: dict[int, Hook] | None = None
    ) -> list[multiprocessing.Process]:
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        processes = []
        for rank in range(num_ranks):
            names = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=num_ranks, LOCAL_WORLD_SIZE=num_ranks)
            environment = {**names, 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port}
            path = tmp_path / f'{work_dir}_{rank}'
            own = [hooks[rank]] if hooks and rank in hooks else []
            arguments = (make_config(work_dir, changes), (*own, Losses(path.with_suffix('.jsonl'))))
            process = multiprocessing.get_context('fork').Process(
                target=_train, args=(*arguments, path.with_suffix('.txt'), environment)
            )
            process.start()
            processes.append(process)
        return processes

    return _start


def wait_for(processes: list[multiprocessing.Process], seconds: float = 240) -> list[int]:
    """Exit status of each, minus the signal if one killed it. join() would also wait for workers of the killed."""
    end = time.monotonic() + seconds
    while any(process.exitcode is None for process in processes):
        if time.monotonic() > end:
            for process in processes:
                process.kill()
            pytest.fail('the training hangs')
        time.sleep(0.05)
    return [process.exitcode for process in processes]


def _train(cfg: Config, hooks: tuple[Hook, ...], report: Path, environment: dict | None = None) -> None:
    try:
        with process_group():
            if environment is not None:
                os.environ.update({name: str(value) for name, value in environment.items()})
                prepare_launcher(cfg, 'pytorch')
            runner = build_runner(cfg)
            for hook in hooks:
                runner.register_hook(hook)
            runner.train()
            del runner
    except Exception:
        report.write_text(traceback.format_exc())
        raise


@pytest.fixture
def train(start: Callable[..., multiprocessing.Process]) -> Callable[..., int]:
    """Trains to the end and returns the exit status, minus the signal if one killed the process."""

    def _train_to_end(*args, **kwargs) -> int:
        return wait_for([start(*args, **kwargs)])[0]

    return _train_to_end


@pytest.fixture
def train_ranks(start_ranks: Callable[..., list[multiprocessing.Process]]) -> Callable[..., list[int]]:
    """Trains in several processes to the end and returns their exit statuses."""

    def _train_to_end(*args, **kwargs) -> list[int]:
        return wait_for(start_ranks(*args, **kwargs))

    return _train_to_end


@pytest.fixture
def read_losses(tmp_path: Path) -> Callable[[str], dict[int, dict[str, float]]]:
    """The losses of a work dir by iteration; where one was run twice, of the last time."""

    def read(work_dir: str) -> dict[int, dict[str, float]]:
        lines = (tmp_path / f'{work_dir}.jsonl').read_text().splitlines()
        return dict(json.loads(line) for line in lines)

    return read


@pytest.fixture
def read_metrics(tmp_path: Path) -> Callable[[str], list[tuple[int, float]]]:
    """Step and PQ of each evaluation in the logs of a work dir, in their order."""

    def read(work_dir: str) -> list[tuple[int, float]]:
        logs = sorted((tmp_path / work_dir).glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime)
        entries = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
        return [(entry['step'], entry['coco_panoptic/PQ']) for entry in entries if 'coco_panoptic/PQ' in entry]

    return read
