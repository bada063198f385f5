"""Averaged weights (EMA) and those that are trained: which stand in the model, which in a checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from torch import Tensor

AVERAGED = 'ema_state_dict'


def find_averages(runner: Runner) -> list[EMAHook]:
    """The hooks of a run that average its weights; usually none or one.

    Args:
        runner: The runner.
    """
    return [hook for hook in runner.hooks if isinstance(hook, EMAHook)]


@contextmanager
def averaged_weights(runner: Runner) -> Iterator[None]:
    """Inside, the model of a training has the weights that are evaluated: the averaged ones, if the run has any.

    Args:
        runner: The runner, outside of an evaluation, where mmengine has exchanged them already.
    """
    hooks = find_averages(runner)
    for hook in hooks:
        hook._swap_ema_parameters()
    try:
        yield
    finally:
        for hook in reversed(hooks):
            hook._swap_ema_parameters()


def trained_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The weights of a checkpoint that the optimiser works on.

    mmengine's EMAHook writes the averaged ones as ``state_dict``, which is what everybody loads, and these under the
    averaged ones' key.

    Args:
        checkpoint: What mmengine has saved, of a run with or without EMAHook.
    """
    others = checkpoint.get(AVERAGED, {})
    return {name: others.get(f'module.{name}', tensor) for name, tensor in checkpoint['state_dict'].items()}
