"""Whatever happens in a run, it ends soon, as it should, and leaves nothing behind but what can be gone on from."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmmaskdino.engine import find_resumable_checkpoint

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
SECONDS = 30  # from the trouble to the end
TROUBLE_AT = 2  # iterations that are complete by then
PROGRAM = 'RuntimeError: a fault of a program'
DAMAGED = 'the image is damaged'
STOPS = {'SIGTERM': 143, 'SIGINT': 130, 'SIGHUP': 129}


@dataclass
class Case:
    """A run that meets trouble, and how it ends.

    Attributes:
        what: The trouble, a function of troubles.py.
        when: Method of the hook that makes it.
        iteration: Of the training, from which on it comes.
        last_line: A part of the last line that the process with the trouble prints.
        status: Its exit status.
        saved: Iterations of the checkpoint that the run leaves; 0 for none, None for any that is whole, or none.
        changes: To the config.
        environment: Variables.
        command: train or test.
        num_processes: How many ranks.
        rank: The one that has the trouble.
        has_trace: Whether a traceback is printed.
        data: Whether the data has a damaged image: train, val or none.
    """

    what: str
    when: str
    last_line: str
    status: int = 1
    saved: int | None = TROUBLE_AT
    changes: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)
    command: str = 'train'
    num_processes: int = 1
    rank: int = 0
    iteration: int = TROUBLE_AT
    has_trace: bool = False
    data: str = 'none'


def program(what: str, when: str, **others) -> Case:
    return Case(what, when, PROGRAM, has_trace=True, **others)


def stop(name: str, what: str, when: str, **others) -> Case:
    others.setdefault('last_line', 'mmmaskdino train: interrupted' if name == 'SIGINT' else f'{name} received: saving')
    return Case(what, when, status=STOPS[name], environment={'TROUBLE_SIGNAL': name}, **others)


LEAVE_OUT = {'train_dataloader.dataset': dict(on_fault='leave_out', left_out_file='left_out.jsonl')}
AVERAGE = {'default_hooks.average': dict(type='EMAHook', momentum=0.5)}
NO_WORKERS = dict.fromkeys(('train_dataloader.num_workers', 'val_dataloader.num_workers'), 0)
CASES = {
    'hook': program('in_hook', 'after_train_iter', saved=TROUBLE_AT + 1),
    'hook, no workers': program('in_hook', 'before_train_iter', changes=NO_WORKERS),
    'hook of the validation': program('in_hook', 'after_val_iter'),
    'model': program('in_model', 'before_train_iter'),
    'loss': program('in_loss', 'before_train_iter'),
    'metric': program('in_metric', 'before_val'),
    'metric in a test': program('in_metric', 'before_test', command='test', saved=0),
    'on_fault': program('in_on_fault', 'before_train', iteration=0, saved=0, changes=LEAVE_OUT, data='train'),
    'image': Case('', 'before_run', DAMAGED, data='train', saved=0),
    'image of the validation': Case('', 'before_run', DAMAGED, data='val'),
    'image in a test': Case('', 'before_run', DAMAGED, data='val', command='test', saved=0),
    'worker is killed': Case('kill_worker', 'before_train_iter', 'fewer num_workers', saved=None),
    'worker of the validation is killed': Case('kill_worker', 'after_val_iter', 'fewer num_workers'),
    'worker cannot hand on': Case(
        'spoil_hand_over', 'before_run', 'fewer num_workers', saved=0, iteration=0, has_trace=True
    ),
    'full disk': Case(
        'fill_disk',
        'before_train_iter',
        'Make room and go on from it with --resume',
        saved=TROUBLE_AT,
        changes={'default_hooks.checkpoint': dict(interval=1, max_failures=0)},
    ),
    'deaf': Case(
        'wait_deaf',
        'before_val_iter',
        'not ended 1 s after SIGTERM',
        143,
        saved=0,
        changes={'default_hooks.stop_signal.grace': 1.0},
    ),
    'two processes, hook of one': program('in_hook', 'before_train_iter', num_processes=2, rank=1),
    'two processes, signal to one in the training': stop(
        'SIGTERM', 'signal_to_process', 'before_train_iter', num_processes=2, saved=TROUBLE_AT + 1
    ),
    'two processes, signal to the group of one in the validation': stop(
        'SIGTERM', 'signal_to_group', 'after_val_iter', num_processes=2, rank=1, last_line=''
    ),
    'averaged weights, signal in the validation': stop(
        'SIGTERM', 'signal_to_process', 'after_val_iter', changes=AVERAGE
    ),
    'averaged weights, metric': program('in_metric', 'before_val_iter', changes=AVERAGE),
    'signal in a test': stop(
        'SIGTERM', 'signal_to_group', 'after_test_iter', command='test', saved=0, last_line='SIGTERM received'
    ),
}
for name in STOPS:
    for whom in ('process', 'group'):
        what = f'signal_to_{whom}'
        CASES[f'{name} to the {whom} in the training'] = stop(name, what, 'before_train_iter', saved=TROUBLE_AT + 1)
        CASES[f'{name} to the {whom} in the validation'] = stop(name, what, 'after_val_iter')


class Server:
    """Runs cases, some at a time, and keeps how they ended."""

    def __init__(self, folder: Path, make_config: Callable[[Case, Path], Config]) -> None:
        self.folder, self.make_config = folder, make_config
        self.process = subprocess.Popen(
            [sys.executable, HERE / 'command_server.py'],
            stdin=subprocess.PIPE,
            text=True,
            env=os.environ | {'PYTHONPATH': f'{HERE.parents[1]}', 'OMP_NUM_THREADS': '1'},
        )
        self.pool = ThreadPoolExecutor(2)
        self.results: dict[str, Future] = {}

    def submit(self, name: str) -> None:
        self.results[name] = self.pool.submit(self._run, name, CASES[name])

    def prepare(self, case: Case, folder: Path) -> list[str]:
        """Fill the folder of a case, and return the arguments of its command."""
        (folder / 'tmp').mkdir(parents=True)
        torch.save({'state_dict': {}}, folder / 'none.pth')
        shutil.copy(HERE / 'troubles.py', folder)
        self.make_config(case, folder).dump(folder / 'cfg.py')
        return [case.command, 'cfg.py', *(['none.pth'] if case.command == 'test' else []), '--work-dir', 'work']

    def _run(self, name: str, case: Case) -> Ended:
        folder = self.folder / str(list(CASES).index(name))  # short: the paths of sockets have a limit
        arguments = self.prepare(case, folder)
        environment = case.environment | {'TMPDIR': str(folder / 'tmp'), 'TROUBLE_COMMAND': case.command}
        if case.num_processes > 1:
            arguments += ['--launcher', 'pytorch']
            with socket.socket() as free:
                free.bind(('127.0.0.1', 0))
                environment = environment | dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free.getsockname()[1]))
        ranks = [folder / f'rank_{rank}' for rank in range(case.num_processes)]
        for rank, path in enumerate(ranks):
            path.mkdir()
            names = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=len(ranks), LOCAL_WORLD_SIZE=len(ranks))
            own = {key: str(value) for key, value in names.items()} | environment
            request = dict(arguments=arguments, folder=str(path), cwd=str(folder), environment=own)
            self.process.stdin.write(json.dumps(request) + '\n')
            self.process.stdin.flush()
        return wait(folder, ranks)


@dataclass
class Ended:
    """What is left of a run: its folder, and of each process the status and the lines that it printed."""

    folder: Path
    statuses: list[int | None]
    lines: list[list[str]]
    seconds: float
    left: list[str]


def wait(folder: Path, ranks: list[Path], start_up: float = 120) -> Ended:
    """Wait until all processes have ended; those that have not in time are killed and have no status."""
    begin, trouble = time.monotonic(), None
    while not all((path / 'status').is_file() for path in ranks):
        time.sleep(0.05)
        if trouble is None and (folder / 'trouble').exists():
            trouble = time.monotonic()
        if time.monotonic() > (begin + start_up if trouble is None else trouble + SECONDS):
            break
    seconds = time.monotonic() - (trouble or begin)
    statuses = [int((path / 'status').read_text()) if (path / 'status').is_file() else None for path in ranks]
    left = [line for path in ranks for line in processes_of(int((path / 'pid').read_text()))]
    for path in ranks:
        if left:
            os.killpg(int((path / 'pid').read_text()), signal.SIGKILL)
    texts = [(path / 'output').read_text() for path in ranks]
    return Ended(folder, statuses, [[line for line in text.splitlines() if line] for text in texts], seconds, left)


def processes_of(session: int) -> list[str]:
    """The processes of a session, as ps shows them, but for those that have ended and are not yet asked for."""
    listed = subprocess.run(['ps', '-eo', 'sid=,pid=,stat=,args='], capture_output=True, text=True, check=True).stdout
    fields = [line.split(maxsplit=3) for line in listed.splitlines()]
    return [' '.join(field) for field in fields if int(field[0]) == session and 'Z' not in field[2]]


@pytest.fixture(scope='module')
def server(
    request: pytest.FixtureRequest,
    project_root: Path,
    shapes: Path,
    tmp_path_factory: pytest.TempPathFactory,
    shrink: Callable[[Config], Config],
) -> Iterator[Server]:
    """Starts all the cases that were asked for."""
    folder = tmp_path_factory.mktemp('ends')

    def make_config(case: Case, work: Path) -> Config:
        cfg = shrink(Config.fromfile(project_root / 'configs' / 'maskdino' / 'maskdino_r18_shapes_instance.py'))
        data = damage(shapes, case.data, work / 'data') if case.data != 'none' else shapes
        loader = dict(num_workers=1, dataset=dict(data_root=f'{data}/'))
        changes = {
            'train_dataloader': dict(loader, batch_size=2),
            'val_dataloader': loader,
            'test_dataloader': loader,
            'val_evaluator.ann_file': str(data / 'annotations' / 'instances_val.json'),
            'test_evaluator.ann_file': str(data / 'annotations' / 'instances_val.json'),
            'train_cfg.max_iters': 6,
            'train_cfg.val_interval': TROUBLE_AT if 'val' in (case.data, *case.when.split('_')) else 100,
            'default_hooks.checkpoint': dict(interval=100, max_keep_ckpts=1),
            'custom_imports.imports': ['mmmaskdino', 'troubles'],
            'custom_hooks': [dict(type='Trouble', what=case.what, when=case.when, rank=case.rank)],
            'env_cfg.dist_cfg': dict(backend='gloo', timeout=60),
            'log_level': 'WARNING',
        }
        cfg.custom_hooks[:] = []
        cfg.merge_from_dict(changes)
        cfg.merge_from_dict(case.changes)
        cfg.custom_hooks[0]['iteration'] = case.iteration
        return cfg

    server = Server(folder, make_config)
    for item in request.session.items:
        if item.module is request.module and item.originalname == 'test_ends':
            server.submit(item.callspec.params['name'])
    yield server
    server.pool.shutdown(cancel_futures=True)
    server.process.stdin.close()
    server.process.wait(30)


def damage(data: Path, part: str, copy: Path) -> Path:
    """A copy of a dataset in which the images of a part are cut off."""
    shutil.copytree(data, copy)
    for path in (copy / part).glob('*.jpg'):
        path.write_bytes(path.read_bytes()[:-100])
    return copy


@pytest.mark.parametrize('name', CASES)
def test_ends(server: Server, name: str) -> None:
    case, ended = CASES[name], server.results[name].result()
    lines = ended.lines[case.rank]
    shown = '\n'.join(lines[-40:])
    assert ended.statuses[case.rank] == case.status, shown
    assert ended.left == [] and ended.seconds < SECONDS
    assert case.last_line in lines[-1]
    assert any('Traceback' in line for line in lines) == case.has_trace, shown
    for rank in set(range(case.num_processes)) - {case.rank}:
        others = dict(zip(('status', 'line'), (ended.statuses[rank], ended.lines[rank][-1]), strict=True))
        agreed = case.when.startswith('before_train') and case.status in STOPS.values()
        assert others['status'] == (case.status if agreed else 1)
        assert agreed or 'cannot go on: another process has ended' in others['line']
    check_files(ended.folder, case)


def check_files(folder: Path, case: Case) -> None:
    """Nothing temporary is left, and the checkpoint can be gone on from."""
    if case.what != 'kill_worker':  # which cannot remove its own
        assert list((folder / 'tmp').iterdir()) == []
    assert list(folder.rglob('*.partial')) == []
    path = find_resumable_checkpoint(folder / 'work')
    if path is None:
        assert not case.saved
        return
    saved = torch.load(path, map_location='cpu', weights_only=False)
    if case.changes is AVERAGE:  # the averages are under `state_dict`
        weights = torch.load(folder / 'weights.pth', weights_only=False)
        assert all(torch.equal(saved['ema_state_dict'][f'module.{name}'], value) for name, value in weights.items())
        assert not all(torch.equal(saved['state_dict'][name], value) for name, value in weights.items())
    assert {'state_dict', 'optimizer', 'param_schedulers'} <= saved.keys()
    assert saved['meta']['iter'] == case.saved if case.saved is not None else saved['meta']['iter'] >= TROUBLE_AT
    if not case.has_trace and case.status == 1 and case.rank == 0:
        assert 'Traceback' in ''.join(log.read_text() for log in (folder / 'work').glob('*/*.log'))


@pytest.mark.parametrize('name', ['image of the validation', 'SIGTERM to the group in the training'])
def test_the_real_command_ends(server: Server, name: str) -> None:
    """As a shell starts it, with a Python of its own."""
    case = CASES[name]
    folder = server.folder / f'real_{list(CASES).index(name)}'
    arguments = server.prepare(case, folder)
    environment = {'PYTHONPATH': f'{HERE.parents[1]}:.', 'OMP_NUM_THREADS': '1', 'TMPDIR': str(folder / 'tmp')}
    done = subprocess.run(
        [sys.executable, '-m', 'mmmaskdino', *arguments],
        cwd=folder,
        env=os.environ | environment | {'TROUBLE_COMMAND': case.command} | case.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == case.status, done.stdout
    assert case.last_line in done.stdout.splitlines()[-1] and 'Traceback' not in done.stdout
    check_files(folder, case)
