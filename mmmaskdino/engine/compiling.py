"""CompileHook: torch.compile for the parts of a model that it fits."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

HEADS = ('panoptic_head', 'decode_head')
PARTS = ('pixel_decoder', 'decoder')


@HOOKS.register_module()
class CompileHook(Hook):
    """Compile backbone, pixel decoder and transformer decoder; matching, losses and fusion stay as they are.

    mmengine's own ``cfg.compile`` compiles the whole step, which breaks wherever the CPU decides something. These
    parts have no such place: with torch 2.4 or later, each is one graph.

    Args:
        parts (Sequence[str] | None): Dotted names of submodules to compile; None: the three above.
        options (Any): Arguments of ``torch.compile``: ``backend``, ``mode``, ``dynamic`` (True where images differ in
            size, or each size is compiled again), ``fullgraph``.

    Raises:
        ValueError: If a part does not exist.
    """

    def __init__(self, parts: Sequence[str] | None = None, **options: Any) -> None:
        self.parts, self.options = parts, options

    def before_run(self, runner: Runner) -> None:
        """Compile in place: names of parameters and checkpoints stay the same."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for part in default_parts(model) if self.parts is None else self.parts:
            try:
                module = attrgetter(part)(model)
            except AttributeError:
                names = [name for name, _ in model.named_children()]
                raise ValueError(
                    f'custom_hooks: CompileHook has parts={list(self.parts or ())}, but {type(model).__name__} has no '
                    f'{part!r}; parts are dotted names below {names}'
                ) from None
            module.compile(**self.options)


def default_parts(model: nn.Module) -> list[str]:
    """Names of backbone, pixel decoder and transformer decoder of a detector or segmentor of this package."""
    head = next((name for name in HEADS if hasattr(model, name)), HEADS[0])
    return ['backbone', *(f'{head}.{part}' for part in PARTS)]
