"""How a run goes: what mmengine's Runner gets from this package so that it ends well, whatever happens to it."""

from typing import Any

from mmengine.registry import STRATEGIES

from mmmaskdino.engine.checkpoints import AtomicLocalBackend, CheckpointError, ResumableCheckpointHook
from mmmaskdino.engine.classes import ClassCountCheckHook, ClassMatchingHook
from mmmaskdino.engine.compiling import CompileHook
from mmmaskdino.engine.early_stopping import ResumableEarlyStoppingHook
from mmmaskdino.engine.faults import BoundedHistoryHook, NonFiniteError, NonFiniteHook, SafetyHook
from mmmaskdino.engine.optimisers import FusedAdamW, LayerDecayConstructor, UndecayedNormConstructor
from mmmaskdino.engine.progress import ProgressHook
from mmmaskdino.engine.resuming import ResumableTrainLoop, find_resumable_checkpoint, is_complete
from mmmaskdino.engine.safe_loading import load_local
from mmmaskdino.engine.stopping import StopSignalHook

__all__ = [
    'AtomicLocalBackend',
    'BoundedHistoryHook',
    'CheckpointError',
    'ClassCountCheckHook',
    'ClassMatchingHook',
    'CompileHook',
    'FusedAdamW',
    'LayerDecayConstructor',
    'NonFiniteError',
    'NonFiniteHook',
    'ProgressHook',
    'ResumableCheckpointHook',
    'ResumableEarlyStoppingHook',
    'ResumableTrainLoop',
    'SafetyHook',
    'ShardedStrategy',
    'StopSignalHook',
    'UndecayedNormConstructor',
    'find_resumable_checkpoint',
    'is_complete',
    'load_local',
]


def __getattr__(name: str) -> Any:
    if name == 'ShardedStrategy':  # needs private modules of mmengine, which other runs go without
        from mmmaskdino.engine.sharding import ShardedStrategy

        return ShardedStrategy
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


@STRATEGIES.register_module(name='ShardedStrategy')  # of mmengine, where FlexibleRunner looks
def _build_sharded_strategy(**options: Any) -> Any:
    return __getattr__('ShardedStrategy')(**options)
