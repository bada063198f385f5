"""What the paper leaves out in its ablations."""

from .ablated_criterion import AblatedCriterion

__all__ = ['AblatedCriterion']
