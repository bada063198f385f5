"""From a config file and command-line options to mmengine's Runner: shared by training and testing."""

from __future__ import annotations

import copy
import datetime
import gc
import inspect
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from typing import Any

import torch
from mmengine.config import Config
from mmengine.config.utils import ConfigParsingError
from mmengine.device import get_device
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmmaskdino.apis.plain_config import PlainConfig
from mmmaskdino.converters import read_checkpoint
from mmmaskdino.engine.data_loading import end_workers
from mmmaskdino.engine.stopping import StopSignals, within
from mmmaskdino.hub import find_config, find_weights, local_weights, resolve_model
from mmmaskdino.hub.table import did_you_mean, shipped_configs

# The hooks that mmengine adds unless they are None.
_HOOKS_OF_MMENGINE = {'runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'}
# Read by mmengine from the whole config, beside the arguments of the Runner.
_OTHER_KEYS = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
}
_SECONDS_TO_LEAVE = 20


def open_model(
    model: str | Path | Config | None,
    weights: str | Path | None = None,
    options: dict[str, Any] | None = None,
    work_dir: str | None = None,
) -> tuple[Config, str]:
    """Config and weights of a model, whatever stands for it.

    Args:
        model: As of :func:`mmmaskdino.hub.resolve_model`, or a config, which is left as it is.
        weights: As there.
        options: As of :func:`load_config`; they come after those that belong to the weights.
        work_dir: As there.

    Returns:
        The config, and the checkpoint's path.

    Raises:
        ValueError: Something of this does not exist or cannot be read.
    """
    if isinstance(model, Config):
        if weights is None:
            raise ValueError('a config alone has no weights: give them as well')
        return _with_options(model, options), find_weights(weights)[0]
    files = resolve_model(model, weights)
    if files.remark:
        print(files.remark, file=sys.stderr)
    path = local_weights(files.weights)
    if path:
        files = resolve_model(model, weights)._replace(
            weights=str(path)
        )  # the options that the file tells are known now
    options = {**files.options, **(options or {})}
    return load_config(files.config or _config_of(files.weights), options, work_dir), files.weights


def load_config(
    path: str | Path | Config, options: dict[str, Any] | None = None, work_dir: str | None = None
) -> Config:
    """Read a config file and apply what the command line changes.

    Args:
        path: The config file, the name of one that comes with the package, a work directory, or a config.
        options: Dotted config keys and their new values, as `mmengine.DictAction` parses `--cfg-options`.
        work_dir: Where logs and checkpoints go. Without it the config's own `work_dir` holds, and without that one
            `work_dirs/<name of the config file>`.

    Returns:
        The config, with `work_dir` set.

    Raises:
        ValueError: If the file does not exist or is no config, or an option begins with a key that nothing reads.
    """
    cfg = PlainConfig.of(path if isinstance(path, Config) else _read_config(find_config(path)))
    if options:
        _check_options(cfg, options)
        cfg.merge_from_dict(options)
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(cfg.filename or 'model').stem)
    _drop_hooks_set_to_none(cfg)
    _suit_loaders_without_workers(cfg)
    return cfg


def prepare_launcher(cfg: Config, launcher: str) -> None:
    """Set the launcher; on machines without an accelerator start gloo here.

    mmengine's launchers select a CUDA device before anything else, so they cannot start processes that run on the CPU.

    Args:
        cfg: Changed in place.
        launcher: `none`, `pytorch`, `slurm` or `mpi`.

    Raises:
        ValueError: If there are fewer GPUs than processes on this machine, or slurm or mpi find no accelerator.
    """
    cfg.launcher = launcher
    if launcher == 'none':
        return
    if get_device() == 'cpu':
        _start_gloo(cfg, launcher)
        return
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    if get_device() == 'cuda' and processes > torch.cuda.device_count():
        raise ValueError(
            f'expected at most as many processes as GPUs: {torch.cuda.device_count()} GPUs are visible, '
            f'{processes} processes were started on this machine'
        )


def build_runner(cfg: Config) -> Runner:
    """Build mmengine's Runner, or the class that the config names as `runner_type`."""
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


@contextmanager
def guarded_run() -> Iterator[None]:
    """See to it that a run ends, whatever ends it: training and evaluation belong inside.

    SIGTERM and SIGHUP, where the training itself does not listen to them, end it with 128 + their number as the status,
    after files and processes have been cleaned up. The processes that load data are ended, whoever still holds their
    loaders.

    Raises:
        RuntimeError: As of :func:`process_group`.
    """
    signals = StopSignals(('SIGTERM', 'SIGHUP'), on_first=lambda number: signals.leave())
    signals.start()
    try:
        with process_group():
            try:
                yield
            finally:
                end_workers()
    finally:
        signals.stop()
        if signals.received:
            print(f'{Signals(signals.received).name} received: the run ends', file=sys.stderr)


@contextmanager
def process_group() -> Iterator[None]:
    """Leave the process group, if there is one, in good order after the work inside.

    Everything that holds the group (the runner, its model) must be gone by then: threads of gloo that outlive the
    interpreter abort the process now and then, after all its work is done.

    Raises:
        RuntimeError: Another process of the group has ended or does not answer.
    """
    try:
        yield
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # nobody leaves while another still waits for him
    except BaseException as error:
        if torch.distributed.is_initialized():
            _let_go(error)
        if not isinstance(error, RuntimeError) or not _is_about_others(error):
            raise
        rank, num_processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
        raise RuntimeError(
            f'process {rank} of {num_processes} cannot go on: another process has ended or did not answer in time '
            '(env_cfg.dist_cfg.timeout, in seconds). Its own error is the one to look for, in the output of the other '
            'processes; after a kill for lack of memory there is none. Training goes on from the last checkpoint with '
            '--resume, prediction where it was with the same command'
        ) from error
    finally:
        gc.collect()
        if torch.distributed.is_initialized():
            with within(_SECONDS_TO_LEAVE, status=1):  # others may not answer any more
                torch.distributed.destroy_process_group()


def _let_go(error: BaseException | None) -> None:
    """Take from the frames of an error, and of those that led to it, what they hold; its traceback can be shown."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _is_about_others(error: RuntimeError) -> bool:
    """Whether an error says that the communication with other processes has failed."""
    if not torch.distributed.is_initialized():
        return False
    return isinstance(error, torch.distributed.DistBackendError) or 'gloo' in str(error).lower()


def _with_options(cfg: Config, options: dict[str, Any] | None) -> Config:
    cfg = copy.deepcopy(cfg)
    cfg.merge_from_dict(options or {})
    return cfg


def _config_of(weights: str) -> Config:
    """The config that a checkpoint holds.

    Raises:
        ValueError: It holds none.
    """
    meta = read_checkpoint(weights).meta
    if not isinstance(meta.get('cfg'), str):
        raise ValueError(f'{weights} holds no config: give the config of its model as well')
    return PlainConfig.read(meta['cfg'], weights)


def _read_config(path: Path) -> Config:
    try:
        return Config.fromfile(str(path))
    except ConfigParsingError as error:
        raise ValueError(f'{path}: {error}') from error
    except SyntaxError as error:
        raise ValueError(f'{path}, or a config that it is based on: line {error.lineno}: {error.msg}') from error
    except Exception as error:  # whatever the code of a config raises, or that of the modules that it imports
        cause = error.__cause__ or error.__context__
        because = f' ({type(cause).__name__}: {cause})' if cause else ''
        raise ValueError(
            f'{path} cannot be read: {type(error).__name__}: {error}{because}{_base_hint(error)}'
        ) from error


def _base_hint(error: Exception) -> str:
    """What to write where the base that is missing has the name of a config of the package."""
    if not isinstance(error, FileNotFoundError):
        return ''
    # The system keeps the name apart; mmengine, for one without a suffix, says `file "..." does not exist`.
    missing = error.filename or re.sub('.*"(.*)".*', r'\1', str(error))
    name = Path(missing).name.removesuffix('.py')
    if name not in shipped_configs():
        return ''
    path = f"str(__import__('mmmaskdino.hub').hub.find_config('{name}'))"
    return f'; for the config of that name that comes with the package write _base_ = {path}'


def _drop_hooks_set_to_none(cfg: Config) -> None:
    """So that `default_hooks.NAME=None` takes any hook out; mmengine knows this of its own six only."""
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook is None and name not in _HOOKS_OF_MMENGINE]:
        hooks.pop(name)


def _suit_loaders_without_workers(cfg: Config) -> None:
    """Take out what torch rejects without workers, since it says how to treat them."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if isinstance(loader, dict) and not loader.get('num_workers'):
            for key in ('persistent_workers', 'prefetch_factor', 'timeout'):
                loader.pop(key, None)


def _check_options(cfg: Config, options: dict[str, Any]) -> None:
    """Reject misspelt top-level keys, which mmengine would add silently; constructors reject the deeper ones."""
    read_keys = set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'} | _OTHER_KEYS
    for option in options:
        key = option.partition('.')[0]
        if key in read_keys:
            continue
        if key not in cfg:
            meant = did_you_mean(key, read_keys | set(cfg))
            raise ValueError(
                f'--cfg-options {option}: the config has no key {key!r} and mmengine reads none{meant}. '
                'If your own code reads it, add it to the config file.'
            )
        warnings.warn(
            f'--cfg-options {option}: {key!r} is a variable of the config file. Where the file uses it, its old value '
            'stays; set those places instead (for example train_dataloader.dataset.data_root).',
            stacklevel=3,
        )


def _start_gloo(cfg: Config, launcher: str) -> None:
    if launcher != 'pytorch':
        raise ValueError(
            f'--launcher {launcher} needs accelerators, and none is visible; on CPUs use tools/dist_train.sh or '
            'tools/dist_test.sh (--launcher pytorch)'
        )
    env_cfg = cfg.get('env_cfg') or {}
    dist_cfg = dict(env_cfg.get('dist_cfg') or {}, backend='gloo')
    cfg.env_cfg = dict(env_cfg, dist_cfg=dist_cfg)
    timeout = datetime.timedelta(seconds=dist_cfg.get('timeout', 1800))
    torch.distributed.init_process_group('gloo', timeout=timeout)
    if cfg.pop('sync_bn', None):
        warnings.warn('sync_bn needs GPUs: on the CPU each process normalises by its own batch', stacklevel=2)
    wrapper = cfg.get('model_wrapper_cfg') or {
        'type': 'MMDistributedDataParallel',
        'broadcast_buffers': False,
        'find_unused_parameters': cfg.get('find_unused_parameters', False),
    }
    # mmengine's default is the rank's CUDA device, which DistributedDataParallel rejects for a model on the CPU.
    cfg.model_wrapper_cfg = {**wrapper, 'device_ids': None}
