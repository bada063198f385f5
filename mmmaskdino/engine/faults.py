"""What a long run is kept from: values that are not finite, a history that grows without end."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.optim import Optimizer

_NUMBERS = itertools.count()
ACTIONS = ('skip', 'stop')


class SafetyHook(Hook):
    """A hook of which a run needs one.

    The base configs have them in `default_hooks`, which survive a config's own `custom_hooks`. Where `custom_hooks`
    list one all the same, as configs did before, or a subclass of it, that takes the place of the default.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> 'SafetyHook':
        hook = super().__new__(cls)
        hook._number = next(_NUMBERS)
        return hook

    def before_run(self, runner: Runner) -> None:
        """Take the place of those of this class that were built before.

        Args:
            runner: The runner.
        """
        # A new list, since the runner is going through the old one.
        runner._hooks = [hook for hook in runner.hooks if not self._replaces(hook)]

    def _replaces(self, hook: Hook) -> bool:
        is_older = isinstance(hook, SafetyHook) and hook._number < self._number
        return is_older and isinstance(self, type(hook))


class NonFiniteError(RuntimeError):
    """Training makes no sense any more: losses or gradients are NaN or inf."""


@HOOKS.register_module()  # of mmengine, so that mmdet and mmseg find it
class NonFiniteHook(SafetyHook):
    """Leaves a step out whose gradient is NaN or inf, and says in which images and losses that began.

    Weights, state of the optimiser and running statistics of norms stay as they were before the iteration. In a run of
    several processes all leave out the same steps, since they share the gradient. With mixed precision in float16 an
    overflow of the scaled gradient is no fault: the loss scale falls, and only the count in a row is bounded.

    The device is waited for once per iteration, after mmengine has read each of its losses; where ``clip_grad`` is not
    set, once more for the norm of the gradient.

    Args:
        action (str): ``skip`` leaves the step out, ``stop`` ends the run with an error.
        max_in_a_row (int): Steps in a row that may be left out; the next one ends the run.
    """

    priority = 'HIGH'  # before EMAHook takes the weights, after RuntimeInfoHook has read the losses

    def __init__(self, action: str = 'skip', max_in_a_row: int = 20) -> None:
        if action not in ACTIONS:
            raise ValueError(f'NonFiniteHook: action must be one of {ACTIONS}, got {action!r}')
        self.action = action
        self.max_in_a_row = max_in_a_row
        self.num_skipped = 0
        self._in_a_row = 0
        self._has_stepped = False
        self._norms: list[tuple[Tensor, Tensor]] = []

    def before_train(self, runner: Runner) -> None:
        """Begin to watch the optimiser and the running statistics.

        Args:
            runner: The runner.
        """
        wrapper, optimizer = runner.optim_wrapper, runner.optim_wrapper.optimizer
        clips_norm = wrapper.clip_grad_kwargs and wrapper.grad_name == 'grad_norm'
        step = optimizer.step

        @functools.wraps(step)
        def guarded_step(*args: Any, **kwargs: Any) -> Any:
            history = runner.message_hub.get_scalar('train/grad_norm') if clips_norm else None
            norm = history.current() if clips_norm else _gradient_norm(runner.model, optimizer)
            self._has_stepped = math.isfinite(norm)
            if not self._has_stepped:
                optimizer.zero_grad(set_to_none=True)  # parameters without gradient are left alone by every optimiser
            return step(*args, **kwargs)

        # Not by a hook of the optimiser: torch.compile of torch 2.1 takes the hooks away.
        optimizer.step = guarded_step
        self._norms = [(buffer, buffer.clone()) for buffer in _running_statistics(runner.model)]

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Forget the step before.

        Args:
            runner: The runner.
            args: Not used, nor are the others.
            kwargs: Not used.
        """
        self._has_stepped = False

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Tensor] | None = None
    ) -> None:
        """Report and count what was not finite.

        Args:
            runner: The runner.
            batch_idx: Not used.
            data_batch: The batch as the data loader gave it, with ``data_samples``.
            outputs: Losses by name.

        Raises:
            NonFiniteError: The action is to stop, or too many steps in a row were left out.
        """
        losses = _not_finite(outputs or {})
        is_skipped = runner.optim_wrapper.should_update() and not self._has_stepped
        self._restore_statistics(is_faulty=bool(losses) or is_skipped)
        if not losses and not is_skipped:
            self._in_a_row = 0
            return
        self.num_skipped += is_skipped
        self._in_a_row += 1
        has_loss_scale = hasattr(runner.optim_wrapper, 'loss_scaler')
        if losses or not has_loss_scale:
            message = _describe(runner.iter, losses, data_batch)
            if self.action == 'stop':
                raise NonFiniteError(message)
            done = 'The step is left out' if is_skipped else 'The gradient is finite and is used'
            runner.logger.error(f'{message} {done}; number {self._in_a_row} in a row.')
        if self._in_a_row > self.max_in_a_row:
            raise NonFiniteError(
                f'{self._in_a_row} iterations in a row, the last one {runner.iter}, had losses or gradients that are '
                f'not finite (max_in_a_row={self.max_in_a_row}). Go on from a checkpoint: with a lower learning '
                'rate, in bfloat16 or float32, or with the images fixed that the log names'
            )

    def restore_statistics(self) -> None:
        """Put the running statistics of norms back to those before the iteration under way."""
        self._restore_statistics(is_faulty=True)

    def _restore_statistics(self, is_faulty: bool) -> None:
        for buffer, last_good in self._norms:
            source, target = (last_good, buffer) if is_faulty else (buffer, last_good)
            target.copy_(source)


def _not_finite(values: dict[str, Tensor]) -> list[str]:
    """Names of the values that are NaN or inf."""
    flags = [value.detach().isfinite().all() for value in values.values()]
    if not flags:
        return []
    finite = torch.stack([flag.to(flags[0].device) for flag in flags]).cpu().tolist()
    return [name for name, is_finite in zip(values, finite, strict=True) if not is_finite]


def _gradient_norm(model: nn.Module, optimizer: Optimizer) -> float:
    """Of all parameters, also where this process has a share of them only."""
    if hasattr(model, 'clip_grad_norm_'):  # FSDP
        return float(model.clip_grad_norm_(math.inf))
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    return float(nn.utils.clip_grad_norm_(parameters, math.inf))  # which multiplies finite gradients by 1


def _running_statistics(model: nn.Module) -> list[Tensor]:
    """The buffers that a batch changes."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._NormBase)]
    return [buffer for norm in norms if norm.training for buffer in norm.buffers(recurse=False)]


def _describe(iteration: int, losses: Sequence[str], data_batch: Any) -> str:
    what = f'losses not finite: {", ".join(losses)}' if losses else 'the losses are finite, the gradient is not'
    images = ', '.join(_image_names(data_batch)) or 'unknown'
    return f'Iteration {iteration}: {what}. Images of this process: {images}.'


def _image_names(data_batch: Any) -> list[str]:
    samples = data_batch.get('data_samples', ()) if isinstance(data_batch, dict) else ()
    return [str(getattr(sample, 'img_path', getattr(sample, 'img_id', '?'))) for sample in samples]


@HOOKS.register_module()  # of mmengine, so that mmdet and mmseg find it
class BoundedHistoryHook(SafetyHook):
    """Keeps the last values of each loss; mmengine keeps a million, copies all of them at each iteration, and writes
    them into each checkpoint.

    The log needs no more than the window over which it smooths (`log_processor.window_size`). All values are in
    `scalars.json` of the work dir.

    Args:
        max_length (int): Values of each loss that are kept.
    """

    def __init__(self, max_length: int = 1000) -> None:
        self.max_length = max_length

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Set the limit of new histories, which the next value applies.

        Args:
            runner: The runner.
            args: Not used, nor are the others.
            kwargs: Not used.
        """
        for history in runner.message_hub.log_scalars.values():
            history.max_length = self.max_length
