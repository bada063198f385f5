from .ablated_criterion import AblatedCriterion

__all__ = ['AblatedCriterion']
