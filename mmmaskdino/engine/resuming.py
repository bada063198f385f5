"""Training that goes on where it was interrupted as if it had not been."""

import logging
import re
import signal
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import broadcast_object_list, get_rank, get_world_size, is_main_process
from mmengine.logging import print_log
from mmengine.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmmaskdino.engine.averaging import find_averages
from mmmaskdino.engine.checkpoints import AtomicLocalBackend, CheckpointError
from mmmaskdino.engine.data_loading import SeededLoader, seed_all
from mmmaskdino.engine.faults import NonFiniteHook
from mmmaskdino.engine.stopping import StopSignalHook, find_checkpoint_hook

# First part of the keys of random numbers: those of the data and those of the model are unrelated.
_DATA, _MODEL = 0, 1
VALIDATED = 'last_validation'  # file of the work dir: the iteration whose validation was the last to be complete
# What the loop is doing.
_STARTING, _LOADING, _TRAINING, _VALIDATING, _ENDING = range(5)


def is_complete(path: Path) -> bool:
    """Whether a checkpoint was written to its end and not damaged since.

    Args:
        path: A file of ``torch.save``, a zip archive: its directory is at the end and has a checksum of each part.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError):
        return False


def find_resumable_checkpoint(work_dir: str | Path) -> str | None:
    """Find the last complete checkpoint of a run.

    mmengine believes its file ``last_checkpoint``, which may be empty, name a file of a work dir that has been moved
    since, or name one that was damaged.

    Args:
        work_dir: Where the run has its logs.

    Returns:
        The path; None if the folder has no checkpoint at all.

    Raises:
        ValueError: There are checkpoints, and none is complete.
    """
    candidates = _candidates(Path(work_dir))
    for path in candidates:
        if is_complete(path):
            return str(path)
        print_log(f'{path} is damaged or was not written to its end; trying an older one', 'current', logging.WARNING)
    if candidates:
        listed = ', '.join(path.name for path in candidates)
        raise ValueError(
            f'none of the checkpoints in {work_dir} is complete ({listed}); remove them to start again, or name '
            'another checkpoint'
        )
    return None


def _candidates(work_dir: Path) -> list[Path]:
    """The checkpoints of training, the one that ``last_checkpoint`` names first, then by their number, last first."""
    record = work_dir / 'last_checkpoint'
    text = record.read_text(errors='replace').strip('\0 \n') if record.is_file() else ''
    named = Path(text)
    folders = {work_dir, named.parent} if text else {work_dir}
    found = [path for folder in folders for path in folder.glob('*.pth') if _number(path) is not None]
    found.sort(key=_number, reverse=True)
    if text and named.is_file():
        found = [named, *(path for path in found if path.resolve() != named.resolve())]
    return found


def _number(path: Path) -> int | None:
    """Iteration or epoch in a name such as ``iter_300.pth``; None for other files, such as ``best_...``."""
    match = re.fullmatch(r'(?:iter|epoch)_(\d+)\.pth', path.name)
    return int(match[1]) if match else None


@LOOPS.register_module()  # of mmengine, so that mmdet and mmseg find it
class ResumableTrainLoop(IterBasedTrainLoop):
    """mmengine's `IterBasedTrainLoop`, in which iteration N is the same whether the run was interrupted or not.

    The order of the images, their augmentation and the random numbers of the model (sampled points, noise) depend on
    the seed, the rank and the iteration, so they need no place in checkpoints. Resuming skips what was trained on
    without loading it. It goes on exactly as long as the seed, the number of processes and the batch size stay.
    A validation during which the run ended is made up for.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): The data; with or without an end.
        kwargs: The other arguments of mmengine's loop.
    """

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, **kwargs: Any) -> None:
        if isinstance(dataloader, dict):
            different_ranks = runner._randomness_cfg.get('diff_rank_seed', False)
            dataloader = runner.build_dataloader(dataloader, seed=runner.seed, diff_rank_seed=different_ranks)
        self._built_with = runner.seed
        self._doing = _STARTING
        self._num_backward_before = 0
        super().__init__(runner, SeededLoader(dataloader), **kwargs)

    @property
    def can_be_left(self) -> bool:
        """Whether an exception that is raised now loses nothing of the training and keeps no other process waiting.

        In a validation, other processes end with an error or by the signal that this one got, too; but not where each
        has a share of the weights, since a checkpoint needs all of them.
        """
        if self._doing == _LOADING:
            return get_world_size() == 1
        # Not while EMAHook may be exchanging weights; StopSignalHook asks after each batch, too.
        return self._doing == _VALIDATING and not self._is_sharded and not find_averages(self.runner)

    def run(self) -> nn.Module:
        """Train to the end.

        When an error or a signal ends the training, a checkpoint of the last complete iteration is saved if its weights
        are still there.

        Returns:
            nn.Module: The model.
        """
        first = self._iter
        if first >= self._max_iters:
            self.runner.logger.warning(
                f'nothing to train: {first} of {self._max_iters} iterations are done; train_cfg.max_iters sets more'
            )
        stop_hooks = [hook for hook in self.runner.hooks if isinstance(hook, StopSignalHook)]
        try:
            self._run()
        except BaseException as error:
            stopped = next((hook for hook in stop_hooks if hook.received), None)
            if self._iter > first:
                reason = f'{signal.Signals(stopped.received).name} received' if stopped else 'the training has failed'
                self._save_what_is_whole(error, reason)
            if stopped:  # whatever the signal led to, such as the end of another process
                stopped.leave()
            raise
        finally:
            for hook in stop_hooks:
                hook.stop_listening()
        return self.runner.model

    def _run(self) -> None:
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self._make_up_for_validation()
        batches = self._batches()
        while self._iter < self._max_iters and not self.stop_training:
            self._doing = _LOADING
            self.runner.model.train()
            batch = next(batches)
            seed_all(_MODEL, self.runner.seed, get_rank(), self._iter)
            self._doing = _TRAINING
            self.run_iter(batch)
            self._decide_current_val_interval()
            if self._is_validated():
                self._validate()
        self._doing = _ENDING
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')

    def run_iter(self, data_batch: Any) -> None:
        """Train on a batch.

        An error of a hook that looks at the iteration afterwards comes after the work of the other hooks, so that the
        iteration is complete.

        Args:
            data_batch (Any): What the data loader gave.
        """
        self._num_backward_before = self._num_backward
        self.runner.call_hook('before_train_iter', batch_idx=self._iter, data_batch=data_batch)
        outputs = self.runner.model.train_step(data_batch, optim_wrapper=self.runner.optim_wrapper)
        failure = None
        for hook in self.runner.hooks:
            try:
                hook.after_train_iter(self.runner, batch_idx=self._iter, data_batch=data_batch, outputs=outputs)
            except Exception as error:
                failure = failure or error
        self._iter += 1
        self._doing = _LOADING
        if failure is not None:
            raise failure

    def _make_up_for_validation(self) -> None:
        """Validate first if the run that is resumed ended during its validation, which no later one replaces."""
        if self._iter == 0:
            self._record_validation()  # none yet; a work dir without a record is of an older version
            return
        record = Path(self.runner.work_dir) / VALIDATED
        last = [record.read_text() if record.is_file() else '']
        broadcast_object_list(last)  # all processes validate or none
        self._decide_current_val_interval()
        is_missing = last[0].strip().isdecimal() and int(last[0]) < self._iter
        if is_missing and self._is_validated() and not self.stop_training:
            self.runner.logger.info(f'the validation of iteration {self._iter} did not end: it comes first')
            self._validate()

    def _record_validation(self) -> None:
        if not is_main_process():
            return
        try:
            AtomicLocalBackend().put_text(f'{self._iter}\n', Path(self.runner.work_dir) / VALIDATED)
        except OSError as error:  # a full disk: at worst a resumed run validates once more
            self.runner.logger.warning(f'{VALIDATED} could not be written ({error})')

    def _validate(self) -> None:
        """Validate; if that ends by an error, averaged weights that stand in the model's place are put back."""
        self._doing = _VALIDATING
        averages = find_averages(self.runner)
        before = [_fingerprint(hook.src_model) for hook in averages]
        try:
            self.runner.val_loop.run()
        except BaseException:
            for hook, old in zip(averages, before, strict=True):
                if not torch.equal(_fingerprint(hook.src_model), old):
                    hook._swap_ema_parameters()
            raise
        self._record_validation()

    @property
    def _num_backward(self) -> int:
        return getattr(self.runner.optim_wrapper, '_inner_count', -1)

    @property
    def _is_sharded(self) -> bool:
        return get_world_size() > 1 and hasattr(self.runner, 'strategy')

    def _save_what_is_whole(self, error: BaseException, reason: str) -> None:
        """Save a checkpoint if the training is between two steps; what fails here is less than what failed before."""
        runner = self.runner
        try:
            hook = find_checkpoint_hook(runner)
            is_due = self._is_between_steps() and runner.optim_wrapper.should_update() and not self._is_sharded
            if hook is None or not is_due or isinstance(error, CheckpointError) or hook.has_saved(self._iter):
                return
            runner.logger.warning(f'{reason}: saving iteration {self._iter}, then the run ends; --resume goes on')
            hook.save(runner, self._iter)
        except Exception as failure:
            runner.logger.error(f'iteration {self._iter} could not be saved ({type(failure).__name__}: {failure})')

    def _is_between_steps(self) -> bool:
        """Whether weights and optimiser are as the last complete iteration left them."""
        if self._doing != _TRAINING:
            return True
        if self._num_backward != self._num_backward_before:
            return False
        for hook in self.runner.hooks:
            if isinstance(hook, NonFiniteHook):
                hook.restore_statistics()  # which the forward pass that failed has changed
        return True

    def _batches(self) -> Iterator[Any]:
        """The batches from the next iteration on."""
        seed = self.runner.seed
        batches = self.dataloader.batch_sampler
        if getattr(batches.sampler, 'seed', None) == self._built_with:
            batches.sampler.seed = seed  # a resumed run takes the seed of its checkpoint
        batches.start(self._iter, _DATA, seed, get_rank())
        return iter(self.dataloader)

    def _is_validated(self) -> bool:
        is_due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        return is_due and self.runner.val_loop is not None and self._iter >= self.val_begin


def _fingerprint(model: nn.Module) -> Tensor:
    """Numbers that differ where weights do."""
    return torch.stack([parameter.detach().double().sum() for parameter in model.parameters()])
