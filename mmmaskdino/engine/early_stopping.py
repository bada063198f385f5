"""An end of the training when its evaluations get no better."""

import math
from typing import Any

from mmengine.hooks import EarlyStoppingHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmmaskdino.engine.checkpoints import GREATER_IS_BETTER, why_not_measured
from mmmaskdino.engine.stopping import find_checkpoint_hook

_STATE = 'early_stopping'  # in the message hub, which checkpoints hold


@HOOKS.register_module()  # of mmengine, so that mmdet and mmseg find it
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """mmengine's `EarlyStoppingHook`, which counts on in a resumed run and leaves a checkpoint where it stops.

    It needs no `rule` for PQ either, and an evaluation in which the metric could not be measured (nan, COCO's -1, or no
    such metric) does not count, as for the best checkpoint; mmengine's ends the run at nan.

    Args:
        monitor (str): Name of the metric, as in the log: ``coco_panoptic/PQ``.
        min_delta (float): By how much a better evaluation must be better, in the metric's unit: AP goes up to 1, PQ and
            mIoU to 100.
        kwargs: The other arguments of mmengine's hook: ``patience``, ``rule``, ``stopping_threshold``.
    """

    _default_greater_keys = [*EarlyStoppingHook._default_greater_keys, *GREATER_IS_BETTER]

    def __init__(self, monitor: str, min_delta: float = 1e-4, **kwargs: Any) -> None:
        super().__init__(monitor, min_delta=min_delta, **kwargs)

    def before_train(self, runner: Runner) -> None:
        """Go on counting where the checkpoint that is resumed from was.

        Args:
            runner: The runner.
        """
        self.wait_count, self.best_score = runner.message_hub.runtime_info.get(
            _STATE, (self.wait_count, self.best_score)
        )
        if self._is_over():
            runner.train_loop.stop_training = True
            runner.logger.warning(
                f'nothing to train: {self.monitor} has made ResumableEarlyStoppingHook end this run; a larger patience '
                f'({self.patience}) or no such hook lets it go on'
            )

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Decide whether to stop, and save what was decided.

        Args:
            runner: The runner.
            metrics: All numbers of the evaluation by name.
        """
        metrics = metrics or {}
        if reason := why_not_measured(self.monitor, metrics):
            runner.logger.warning(f'early stopping: this evaluation does not count by {self.monitor}: {reason}')
            return
        super().after_val_epoch(runner, metrics)
        runner.message_hub.update_info(_STATE, (self.wait_count, float(self.best_score)))
        hook = find_checkpoint_hook(runner)
        if hook is not None and (runner.train_loop.stop_training or hook.has_saved(runner.iter)):
            hook.save(runner, runner.iter, again=True)

    def _is_over(self) -> bool:
        """Whether what was counted so far stops the run."""
        if math.isinf(self.best_score):  # nothing was counted
            return False
        compare, threshold = self.rule_map[self.rule], self.stopping_threshold
        return self.wait_count >= self.patience or threshold is not None and compare(self.best_score, threshold)
