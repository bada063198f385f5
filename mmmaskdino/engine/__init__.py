from mmmaskdino.engine.class_count_hook import ClassCountCheckHook
from mmmaskdino.engine.class_matching_hook import ClassMatchingHook
from mmmaskdino.engine.fused_adamw import FusedAdamW
from mmmaskdino.engine.undecayed_norm_constructor import UndecayedNormConstructor

__all__ = ['ClassCountCheckHook', 'ClassMatchingHook', 'FusedAdamW', 'UndecayedNormConstructor']
