"""Weights of other code bases: what they are, translated to this package's names, and back."""

from .classes import match_classes
from .conversion import Conversion, verify
from .dino import convert_dino
from .files import read_checkpoint
from .kinds import KINDS, convert, detect_kind
from .official import convert_model, restore_model
from .official_head import convert_head, restore_head
from .resnet import convert_resnet, restore_resnet
from .swin import convert_swin, restore_swin
from .target import read_target

__all__ = [
    'KINDS',
    'Conversion',
    'convert',
    'convert_dino',
    'convert_head',
    'convert_model',
    'convert_resnet',
    'convert_swin',
    'detect_kind',
    'match_classes',
    'read_checkpoint',
    'read_target',
    'restore_head',
    'restore_model',
    'restore_resnet',
    'restore_swin',
    'verify',
]
