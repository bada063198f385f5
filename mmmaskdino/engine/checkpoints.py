"""Checkpoints that survive whatever stops a run: written whole or not at all, the old ones removed last."""

import copy
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, get_file_backend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmmaskdino.engine.averaging import AVERAGED, find_averages, trained_weights
from mmmaskdino.engine.optimisers import follow_config

PARTIAL_SUFFIX = '.partial'
GREATER_IS_BETTER = ('PQ', 'SQ', 'RQ', 'Fscore', 'Recall')  # parts of metrics' names that mmengine does not know
_RECORDS = ('keep_ckpt_ids', 'last_ckpt', 'best_ckpt_path', 'best_ckpt_path_dict')


@register_backend('atomic')
class AtomicLocalBackend(LocalBackend):
    """mmengine's local files, written under another name and renamed when they are complete and on the disk.

    A process that is killed, a power cut and a full disk leave the file that was there before. In configs:
    ``backend_args=dict(backend='atomic')``.
    """

    def __init__(self) -> None:
        self._postponed: list[Path] | None = None

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file.

        Args:
            obj: Its content.
            filepath: Its path; missing folders are made.

        Raises:
            OSError: It could not be written, for instance because the disk is full; the old file is untouched.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + PARTIAL_SUFFIX)
        try:
            with open(partial, 'wb') as file:
                file.write(obj)
            complete_file(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write a text file; see :meth:`put`."""
        self.put(obj.encode(encoding), filepath)

    def remove(self, filepath: str | Path) -> None:
        """Remove a file, inside :meth:`removing_afterwards` at its end."""
        if self._postponed is None:
            super().remove(filepath)
        else:
            self._postponed.append(Path(filepath))

    @contextmanager
    def removing_afterwards(self) -> Iterator[None]:
        """What is removed inside goes when all inside has succeeded, and stays if it fails."""
        outdated = self._postponed = []
        try:
            yield
        finally:
            self._postponed = None
        for path in outdated:
            path.unlink(missing_ok=True)


def complete_file(partial: Path, path: Path) -> None:
    """Give a file that is written its name, in which it replaces an older one, when it is on the disk.

    Args:
        partial: Where it was written.
        path: Its name, in the same folder.
    """
    with open(partial, 'rb+') as file:
        os.fsync(file.fileno())  # else the new name may reach the disk before the content
    os.replace(partial, path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == 'nt':  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class CheckpointError(RuntimeError):
    """No checkpoint can be written, so going on would lose the work."""


@HOOKS.register_module()  # of mmengine, so that mmdet and mmseg find it
class ResumableCheckpointHook(CheckpointHook):
    """mmengine's `CheckpointHook` for runs that are killed, preempted or short of disk space.

    A checkpoint has its name only when all of it is on the disk, and the old ones are removed only then: mmengine
    removes before it writes. When one cannot be written, the run goes on with the last one kept, for
    `max_failures` times in a row; but not at the end of training, whose result would be lost. The best checkpoint
    (`save_best`) needs no `rule` for the metrics of this package either, and a metric that could not be measured (nan,
    or COCO's -1) is not the best.

    Args:
        max_failures (int): Checkpoints in a row that may fail to be written; the next failure stops the run.
        kwargs: The arguments of mmengine's `CheckpointHook`.
    """

    _default_greater_keys = [*CheckpointHook._default_greater_keys, *GREATER_IS_BETTER]

    def __init__(self, *args: Any, max_failures: int = 3, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_failures = max_failures
        self.num_failures = 0
        self._saving = False

    def before_train(self, runner: Runner) -> None:
        """Prepare the folder.

        Args:
            runner: The runner.
        """
        local = isinstance(get_file_backend(self.out_dir or runner.work_dir), LocalBackend)
        if local and self.backend_args is None:
            self.backend_args = dict(backend='atomic')
        super().before_train(runner)
        if local and is_main_process():
            for path in Path(self.out_dir).glob(f'*.pth{PARTIAL_SUFFIX}'):  # a run was killed while it wrote
                path.unlink(missing_ok=True)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Do not resume from weights alone, which would start the optimiser from scratch silently.

        What the config says of the optimiser and the schedule holds in a resumed run, too; and where it has no EMAHook
        any more, the run goes on from the weights that were trained, not from their average.

        Args:
            runner: The runner.
            checkpoint: What was loaded.

        Raises:
            ValueError: The run is to be resumed, and the state of the optimiser is not in the file.
        """
        if not runner._resume:
            return
        if self.save_optimizer and 'optimizer' not in checkpoint:
            raise ValueError(
                f'{runner._load_from} holds no state of the optimiser, so training cannot go on from it (best_*.pth '
                'and published files are weights alone). Resume from an iter_*.pth, or start from its weights with '
                'load_from and without --resume'
            )
        if AVERAGED in checkpoint and not find_averages(runner):
            checkpoint['state_dict'] = trained_weights(checkpoint)
            runner.logger.warning(
                'the checkpoint has averaged weights and the config no EMAHook: the run goes on from the weights that '
                'were trained, and the average ends here'
            )
        if message := follow_config(runner, checkpoint):
            runner.logger.warning(message)

    def save(self, runner: Runner, iteration: int, again: bool = False) -> None:
        """Save a checkpoint now, if the last one is not of this iteration.

        Args:
            runner: The runner, of a training by iterations.
            iteration: How many iterations it holds.
            again: Save also if it is, because the run has learned something since.
        """
        if again or not self.has_saved(iteration):
            self._save_checkpoint_with_step(runner, iteration, meta=dict(epoch=runner.epoch, iter=iteration))

    def has_saved(self, iteration: int) -> bool:
        """Whether the last checkpoint of this run is of an iteration."""
        return self.last_ckpt is not None and Path(self.last_ckpt).name == self.filename_tmpl.format(iteration)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        with self._keeping_the_old(runner):
            super()._save_checkpoint_with_step(runner, step, meta)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        measured = {name: score if is_measured(score) else None for name, score in metrics.items()}
        for name in self.key_indicators if self.save_best else ():
            if name != 'auto' and (reason := why_not_measured(name, metrics)):
                measured.setdefault(name)
                runner.logger.warning(f'save_best: no best checkpoint by {name} after this evaluation: {reason}')
        with self._keeping_the_old(runner):
            super()._save_best_checkpoint(runner, measured)

    @contextmanager
    def _keeping_the_old(self, runner: Runner) -> Iterator[None]:
        """Remove outdated checkpoints after the work inside; if the disk fails it, do as if nothing had been tried."""
        # Saving the best saves the last again. Where files are not on a local disk, they have their own rules.
        if self._saving or not hasattr(self.file_backend, 'removing_afterwards'):
            yield
            return
        records = {name: copy.copy(getattr(self, name)) for name in _RECORDS if hasattr(self, name)}
        runtime_info = copy.copy(runner.message_hub.runtime_info)
        self._saving = True
        try:
            with self.file_backend.removing_afterwards():
                yield
        except BaseException as error:
            self.__dict__.update(records)
            runner.message_hub.runtime_info.clear()
            runner.message_hub.runtime_info.update(runtime_info)
            if not isinstance(error, OSError):  # a signal, for instance
                raise
            self._count_failure(runner, error)
        else:
            self.num_failures = 0
        finally:
            self._saving = False

    def _count_failure(self, runner: Runner, error: OSError) -> None:
        self.num_failures += 1
        free = shutil.disk_usage(self.out_dir).free / 2**20
        message = (
            f'the checkpoint could not be written to {self.out_dir} ({error}; {free:.0f} MiB are free). The last '
            f'complete one is {self.last_ckpt or "none"}'
        )
        if self.num_failures > self.max_failures or runner.iter + 1 >= runner.max_iters:
            raise CheckpointError(f'{message}. Make room and go on from it with --resume') from error
        runner.logger.error(
            f'{message}. Training goes on; failure {self.num_failures} in a row, the run stops after '
            f'{self.max_failures} (max_failures)'
        )


def why_not_measured(name: str, metrics: dict[str, Any]) -> str:
    """Why a metric is no number, for people; empty where it is one."""
    if name not in metrics:
        return f'it is not among {list(metrics)}'
    return '' if is_measured(metrics[name]) else f'it is {metrics[name]}: there was nothing to measure it on'


def is_measured(score: Any) -> bool:
    """Whether a metric is a number; COCO says -1 where there is nothing to measure."""
    return score is not None and not math.isnan(score) and score != -1
