from mmmaskdino.engine.atomic_backend import AtomicLocalBackend
from mmmaskdino.engine.bounded_history_hook import BoundedHistoryHook
from mmmaskdino.engine.checkpoint_files import find_resumable_checkpoint, is_complete
from mmmaskdino.engine.class_count_hook import ClassCountCheckHook
from mmmaskdino.engine.class_matching_hook import ClassMatchingHook
from mmmaskdino.engine.compile_hook import CompileHook
from mmmaskdino.engine.fused_adamw import FusedAdamW
from mmmaskdino.engine.non_finite_hook import NonFiniteError, NonFiniteHook
from mmmaskdino.engine.progress_hook import ProgressHook
from mmmaskdino.engine.resumable_checkpoint_hook import CheckpointError, ResumableCheckpointHook
from mmmaskdino.engine.resumable_loop import ResumableTrainLoop
from mmmaskdino.engine.safe_loading import load_local
from mmmaskdino.engine.safety_hook import SafetyHook
from mmmaskdino.engine.sharded_strategy import ShardedStrategy
from mmmaskdino.engine.stop_signal_hook import StopSignalHook
from mmmaskdino.engine.undecayed_norm_constructor import UndecayedNormConstructor

__all__ = [
    'AtomicLocalBackend',
    'BoundedHistoryHook',
    'CheckpointError',
    'ClassCountCheckHook',
    'ClassMatchingHook',
    'CompileHook',
    'FusedAdamW',
    'NonFiniteError',
    'NonFiniteHook',
    'ProgressHook',
    'ResumableCheckpointHook',
    'ResumableTrainLoop',
    'SafetyHook',
    'ShardedStrategy',
    'StopSignalHook',
    'UndecayedNormConstructor',
    'find_resumable_checkpoint',
    'is_complete',
    'load_local',
]
