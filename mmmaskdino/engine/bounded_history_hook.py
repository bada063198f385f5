"""The history of losses in bounded memory."""

from typing import Any

from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmmaskdino.engine.safety_hook import SafetyHook


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
