"""What training needs beside the network: matching, its costs, denoising."""

from .denoising import ContrastiveDenoisingGenerator, DenoisingGenerator
from .hybrid_assigner import HybridHungarianAssigner
from .match_costs import BoxGIoUCost, BoxL1Cost, PointBCECost, PointDiceCost, PositionModulatedFocalCost, ThingOnlyCost
from .one_to_many import OneToManyGroup

__all__ = [
    'BoxGIoUCost',
    'BoxL1Cost',
    'ContrastiveDenoisingGenerator',
    'DenoisingGenerator',
    'HybridHungarianAssigner',
    'OneToManyGroup',
    'PointBCECost',
    'PointDiceCost',
    'PositionModulatedFocalCost',
    'ThingOnlyCost',
]
