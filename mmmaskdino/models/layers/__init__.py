"""The parts of the network after the backbone: pixel decoder, query start, decoder, prediction heads."""

from .box_prior import BoxPrior
from .de_imbalanced_selection import DeImbalancedQuerySelection
from .deformable_attention import DeformableAttention
from .pixel_decoder import MaskDINOPixelDecoder
from .prediction_heads import PredictionHeads, decode_masks
from .query_init import EncoderQuerySelection, LearnedQueries
from .transformer_decoder import MaskDINOTransformerDecoder
from .transformer_layers import DecoderLayer, EncoderLayer

__all__ = [
    'BoxPrior',
    'DeImbalancedQuerySelection',
    'DecoderLayer',
    'DeformableAttention',
    'EncoderLayer',
    'EncoderQuerySelection',
    'LearnedQueries',
    'MaskDINOPixelDecoder',
    'MaskDINOTransformerDecoder',
    'PredictionHeads',
    'decode_masks',
]
