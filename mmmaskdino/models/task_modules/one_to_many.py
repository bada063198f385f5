"""Hybrid matching: beside the queries of which one becomes each object, a group of which several do."""

import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from mmmaskdino.models.losses.criterion import all_stages
from mmmaskdino.structures import HeadOutput, QueryGroup


@TASK_UTILS.register_module()
class OneToManyGroup:
    """A second group of queries, of which several are to become the same object (H-DETR, Jia et al., CVPR 2023).

    One-to-one matching leaves few queries with an object to learn from. So a training step selects ``num_queries``
    tokens more, the best after those of the model. They pass the same decoder and the same heads, see one another
    alone, and no other query sees them; each object is matched to ``num_copies`` of them, with the costs and the losses
    of all queries. Nothing of it is left at test time.

    Args:
        num_queries (int): Queries of the group; fewer where the memory has fewer tokens.
        num_copies (int): Queries that are to become the same object. In images with more than ``num_queries /
            num_copies`` objects fewer, as many for each as there are queries, but at least one.

    Raises:
        ValueError: If an argument is below 1.
    """

    def __init__(self, num_queries: int = 1500, num_copies: int = 6) -> None:
        if num_queries < 1 or num_copies < 1:
            raise ValueError(
                'one_to_many needs num_queries >= 1 and num_copies >= 1, got '
                f'num_queries={num_queries} and num_copies={num_copies}'
            )
        self.num_queries, self.num_copies = num_queries, num_copies

    @staticmethod
    def set_apart(blocked: Tensor | None, queries: Tensor, num_more: int) -> Tensor:
        """Attention mask in which the last queries and all others do not see each other.

        Args:
            blocked (Tensor | None): (n, n) bool, True where a query (row) does not see another already; None: nowhere.
            queries (Tensor): (bs, n, dim).
            num_more (int): Queries of the group, which are the last; below 1: none.

        Returns:
            Tensor: (n, n) bool.
        """
        is_further = torch.arange(queries.shape[1], device=queries.device) >= queries.shape[1] - num_more
        apart = is_further[:, None] != is_further
        return apart if blocked is None else blocked | apart

    def split(self, output: HeadOutput, num_queries: int) -> HeadOutput:
        """Take the group out of the model's queries.

        Args:
            output (HeadOutput): Of all queries.
            num_queries (int): Queries of the model, which are the first.

        Returns:
            HeadOutput: The group is one of ``further``, its losses have ``many_`` before the name.
        """
        stages, names = all_stages(output)[:2]
        further = stages.map(lambda field: field[:, :, num_queries:])
        group = QueryGroup(further, [f'{name}many_' for name in names], self.num_copies)
        encoder, matching = (x.map(lambda field: field[:, :, :num_queries]) for x in (output.encoder, output.matching))
        return output._replace(encoder=encoder, matching=matching, further=(*output.further, group))
