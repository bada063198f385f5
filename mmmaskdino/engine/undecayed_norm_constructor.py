"""No weight decay for norms, wherever they are."""

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class UndecayedNormConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor of parameter groups, in which norms carry no weight decay.

    mmengine's own ``norm_decay_mult`` does not reach a module that one of the ``custom_keys`` names, so ``backbone``
    with its learning rate would put weight decay on the norms of every backbone.
    """

    def add_params(self, params: list[dict], module: nn.Module, *args: Any, **kwargs: Any) -> None:
        """Append the parameter groups of a module and of its children.

        Args:
            params (list[dict]): Parameter groups, one per parameter; appended to.
            module (nn.Module): The module.
            args (Any): The other arguments of mmengine's method.
            kwargs (Any): The same by name.
        """
        first = len(params)
        super().add_params(params, module, *args, **kwargs)
        if isinstance(module, NORMS):
            for group in params[first:]:
                group['weight_decay'] = 0.0
