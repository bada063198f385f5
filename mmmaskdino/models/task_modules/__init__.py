from .denoising import ContrastiveDenoisingGenerator, DenoisingGenerator
from .hybrid_assigner import HybridHungarianAssigner
from .match_costs import PointBCECost, PointDiceCost, ThingOnlyCost

__all__ = [
    'ContrastiveDenoisingGenerator',
    'DenoisingGenerator',
    'HybridHungarianAssigner',
    'PointBCECost',
    'PointDiceCost',
    'ThingOnlyCost',
]
