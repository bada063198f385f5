"""Fine-tuning on other classes: `load_from` alone takes what it can, by class name."""

from collections.abc import Sequence

from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

from mmmaskdino.converters.classes import adapt_classes, head_prefix
from mmmaskdino.engine.safety_hook import SafetyHook


@HOOKS.register_module()  # of mmengine, so that mmdet and mmseg find it
class ClassMatchingHook(SafetyHook):
    """Fits the class head and the label embedding of a loaded checkpoint to the classes of the run.

    Classes are matched by the names in the checkpoint's `meta.dataset_meta.classes` and in the dataset's metainfo. The
    head may be at another place of the model: that of a detector serves a semantic segmentor, and the other way round.
    Resumed runs are left alone.
    """

    # Before EMAHook, which copies the checkpoint.
    priority = 'HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Change the loaded weights in place, and say so once.

        Args:
            runner: Has the model and the data.
            checkpoint: What was loaded.
        """
        state = checkpoint.get('state_dict', checkpoint)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        own = model.state_dict()
        ours, theirs = head_prefix(own), head_prefix(state)
        if runner._resume or ours is None or theirs is None:
            return
        if theirs != ours:
            for name in [name for name in state if name.startswith(theirs)]:
                state[ours + name.removeprefix(theirs)] = state.pop(name)
        meta = checkpoint.get('meta') or {}
        source = (meta.get('dataset_meta') or {}).get('classes')
        if summary := adapt_classes(state, own, source, _classes_of_run(runner)):
            runner.logger.warning(summary)


def _classes_of_run(runner: Runner) -> Sequence[str] | None:
    # The runner's properties would build the loops that this run does not need.
    for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
        if isinstance(loop, BaseLoop):
            return loop.dataloader.dataset.metainfo.get('classes')
    return None
