"""A training as one line of progress."""

from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmmaskdino.progress import Progress

# The end of a metric's name, and what people call it.
METRICS = {
    'bbox_mAP': 'box AP',
    'segm_mAP': 'mask AP',
    '/PQ': 'PQ',
    '/PQ_th': 'PQ things',
    '/PQ_st': 'PQ stuff',
    'mIoU': 'mIoU',
}


@HOOKS.register_module()  # of mmengine, so that mmdet and mmseg find it
class ProgressHook(Hook):
    """Shows iterations, time left and loss as one line on standard error, and a line for each evaluation.

    For a console that shows nothing else: the log goes to standard output, and to a file of the work dir.

    Args:
        interval (int): Iterations after which the loss is read, at least 1.
    """

    priority = 'VERY_LOW'  # the evaluation's numbers come from others

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval
        self._bar: Progress | None = None

    def before_train(self, runner: Runner) -> None:
        """Start the line.

        Args:
            runner: The runner.
        """
        self._bar = Progress(
            total=runner.max_iters, initial=runner.iter, desc='training', unit='it', disable=not is_main_process()
        )

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Count the iteration.

        Args:
            runner: The runner.
            args: Not used, nor are the others.
            kwargs: Not used.
        """
        if (runner.iter + 1) % self.interval == 0 and 'train/loss' in runner.message_hub.log_scalars:
            loss = runner.message_hub.get_scalar('train/loss').mean(50)
            self._bar.set_postfix(loss=f'{loss:.3g}', refresh=False)
        self._bar.update()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Say what an evaluation came to.

        Args:
            runner: The runner.
            metrics: All its numbers by name.
        """
        if self._bar is None or self._bar.disable:
            return
        shown = [
            f'{title} {value:.3g}'
            for end, title in METRICS.items()
            for name, value in (metrics or {}).items()
            if name.endswith(end)
        ]
        self._bar.write(f'iteration {runner.iter}: {", ".join(shown) or "evaluated"}', file=self._bar.fp)

    def after_train(self, runner: Runner) -> None:
        """End the line.

        Args:
            runner: The runner.
        """
        self._bar.close()
