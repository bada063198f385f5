"""Weights, gradients and the optimiser's state shared out among the processes, instead of a copy in each.

Imported where a config asks for it, by what ``__init__`` registers under the class's name until then.
"""

from pathlib import Path
from typing import Any

import torch
from mmengine._strategy import FSDPStrategy
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.optim import OptimWrapper
from mmengine.registry import STRATEGIES
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from mmmaskdino.engine.checkpoints import PARTIAL_SUFFIX, complete_file

# Torch does not copy weights to the CPU that are there already, and reads them when they are freed: it crashes.
_FULL_ON_CPU = dict(
    state_dict_type='FULL_STATE_DICT',
    state_dict_config=dict(type='FullStateDictConfig', offload_to_cpu=False),
    optim_state_dict_config=dict(type='FullOptimStateDictConfig', offload_to_cpu=False),
)


@STRATEGIES.register_module(force=True)  # of mmengine, where FlexibleRunner looks
class ShardedStrategy(FSDPStrategy):
    """mmengine's `FSDPStrategy`, with the losses and the checkpoints of a run in which each process has all weights.

    The norm of the whole gradient is clipped, not that of each process's share; checkpoints are one file like any
    other, written under another name first, and runs resume from them; the CPU works, too. In a config:
    ``runner_type='FlexibleRunner', strategy=dict(type='ShardedStrategy')``.

    Args:
        state_dict_cfg (str | dict): 'full' for checkpoints of one file. mmengine's other forms are handed on to it, and
            so are runs with them: they do not resume with torch 2.1 or later.
        kwargs: The other arguments of mmengine's strategy.

    Raises:
        RuntimeError: There is no GPU, and torch is too old to share out weights without.
    """

    def __init__(self, *, state_dict_cfg: str | dict = 'full', **kwargs: Any) -> None:
        self._on_cpu = get_device() == 'cpu'
        if self._on_cpu:
            _check_streams()
        if state_dict_cfg == 'full' and self._on_cpu:
            state_dict_cfg = _FULL_ON_CPU
        super().__init__(state_dict_cfg=state_dict_cfg, **kwargs)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if self._on_cpu:  # else mmengine asks for the GPU of the process
            wrapper = self.model_wrapper or dict(type='MMFullyShardedDataParallel')
            self.model_wrapper = {**wrapper, 'device_id': torch.device('cpu')}
        return super()._wrap_model(model)

    def build_optim_wrapper(self, optim_wrapper: Any, model: nn.Module | None = None) -> OptimWrapper:
        """Build the wrapper; its gradients are clipped by the norm that all processes have together.

        Args:
            optim_wrapper (OptimWrapper | dict): The wrapper or its config.
            model (nn.Module): The sharded model.
        """
        wrapper = super().build_optim_wrapper(optim_wrapper, model)
        if wrapper.clip_grad_kwargs and wrapper.grad_name == 'grad_norm':
            wrapper.clip_func = lambda parameters, **kwargs: model.clip_grad_norm_(**kwargs)
        return wrapper

    def model_state_dict(self) -> dict[str, torch.Tensor]:
        """The weights by name; of other processes than the first, nothing if `state_dict_cfg` says so."""
        state_dict = super().model_state_dict()
        for name, value in state_dict.items():
            # Torch leaves a mark on the tensors, with which they are more than plain data in a file.
            state_dict[name] = value.detach()
        return state_dict

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the state of the optimiser.

        Args:
            state_dict (dict): As in a checkpoint.
        """
        optimizer = self.optim_wrapper.optimizer
        # By name: torch changed the order of these arguments in 2.1.
        own = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model, optim=optimizer, optim_state_dict=state_dict
        )
        self.optim_wrapper.load_state_dict(own)

    def save_checkpoint(self, filename: str, **kwargs: Any) -> None:
        """Write a checkpoint, which has its name only when all of it is on the disk.

        Args:
            filename (str): The file, or with 'local' the folder of a file for each process.
            kwargs: The other arguments of mmengine's strategy.

        Raises:
            OSError: It could not be written; an old file of this name is untouched.
        """
        if not self._is_full_state_dict():
            super().save_checkpoint(filename, **kwargs)
            return
        partial = Path(filename + PARTIAL_SUFFIX)
        try:
            super().save_checkpoint(str(partial), **kwargs)
            if is_main_process():
                complete_file(partial, Path(filename))
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _check_streams() -> None:
    """On the CPU they are a matter of form, which FSDP needs."""
    try:
        torch.cpu.Stream(priority=-1)
    except TypeError as error:
        raise RuntimeError(
            f'ShardedStrategy needs a GPU, or a newer torch to run on the CPU (2.12 does), and torch is '
            f"{torch.__version__}; without runner_type='FlexibleRunner' each process has all weights"
        ) from error
