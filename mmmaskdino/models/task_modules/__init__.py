from .denoising import DenoisingGenerator
from .hybrid_assigner import HybridHungarianAssigner
from .match_costs import PointBCECost, PointDiceCost, ThingOnlyCost

__all__ = ['DenoisingGenerator', 'HybridHungarianAssigner', 'PointBCECost', 'PointDiceCost', 'ThingOnlyCost']
