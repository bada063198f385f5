"""Hybrid bipartite matching: classes, boxes and masks in one cost, all stages and images in one go."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mmmaskdino.models.utils.boxes import cxcywh_to_xyxy
from mmmaskdino.ops.device import parts
from mmmaskdino.ops.points import PointFeatures
from mmmaskdino.structures import Pairs, QueryGroup, StagePrediction, Targets

from .match_costs import Candidates, NoMasksError

# Costs of mmdet divide boxes by the size of the image; boxes are in [0, 1] here.
UNIT_IMAGE = dict(img_shape=(1, 1))


@TASK_UTILS.register_module()
class HybridHungarianAssigner:
    """One-to-one matching of queries and objects (paper, section 3.3).

    The costs of all stages are computed together, image by image, and reach the CPU in one copy: matching makes the
    training step wait for the device once.

    Args:
        match_costs (list[dict]): Configs of the costs to add up, from mmdet, this package or one's own. Every cost is
            called with ``pred_instances`` (:class:`Candidates`: scores, boxes, bboxes, masks), ``gt_instances``
            (labels, boxes, bboxes and is_thing, masks in the same points) and ``img_meta``.
    """

    def __init__(self, match_costs: Sequence[dict]) -> None:
        self.match_costs = [TASK_UTILS.build(cost) for cost in match_costs]
        self.num_sanitized = 0

    def assign(
        self,
        stages: StagePrediction,
        targets: Sequence[Targets],
        point_features: Sequence[PointFeatures] | None,
        point_masks: Sequence[Tensor] | None,
    ) -> Pairs:
        """Match every stage of every image.

        Args:
            stages (StagePrediction): Stacked: (num_stages, bs, num_queries, ...).
            targets (Sequence[Targets]): Ground truth per image.
            point_features (Sequence[PointFeatures] | None): Per image the mask features in the matching points; None in
                a model without masks.
            point_masks (Sequence[Tensor] | None): Per image (num_gts, num_points), the true masks there.

        Returns:
            Pairs: Matched pairs, ordered by image.
        """
        (pairs,) = self.assign_groups([QueryGroup(stages, [])], targets, point_features, point_masks)
        return pairs

    @torch.no_grad()
    def assign_groups(
        self,
        groups: Sequence[QueryGroup],
        targets: Sequence[Targets],
        point_features: Sequence[PointFeatures] | None,
        point_masks: Sequence[Tensor] | None,
    ) -> list[Pairs]:
        """Match several groups of queries, each by itself; arguments as of :meth:`assign`, pairs per group."""
        costs = [self._group_costs(group, targets, point_features, point_masks) for group in groups]
        flat = self._to_host([of_image for of_group in costs for of_image in of_group])
        ends = np.cumsum([sum(map(len, of_group)) for of_group in costs])
        parts_of_groups = zip(np.split(flat, ends[:-1]), groups, strict=True)
        return [self._solve(of_group, group, targets) for of_group, group in parts_of_groups]

    def _group_costs(self, group: QueryGroup, targets, point_features, point_masks) -> list[Tensor]:
        """Costs of each image with objects."""
        costs = []
        for image, target in enumerate(targets):
            if not len(target.labels):
                continue
            objects = _objects(target, point_masks and point_masks[image])
            of_image = group.stages.map(lambda field, image=image: field[:, image])
            costs.append(self._costs(of_image, objects, point_features and point_features[image]))
        return costs

    def _costs(self, stages: StagePrediction, objects: InstanceData, features: PointFeatures | None) -> Tensor:
        """(num_stages * num_queries * num_gts,) costs of an image, in float32; some queries of all stages at a time."""
        queries = stages.map(lambda field: field.flatten(0, 1))
        # Of each query: its logits in all points, or the corners of its overlaps with all objects.
        has_masks = features is not None and stages.mask_embeds is not None
        width = max(2 * len(objects), objects.masks.shape[1]) if has_masks else 2 * len(objects)
        costs = []
        for part in parts(len(queries.boxes), width, queries.boxes):
            candidates = Candidates(queries.map(lambda field, part=part: field[part]), features, stages.boxes, part)
            costs.append(sum(self._terms(candidates, objects, has_masks or features is None)))
        return torch.cat(costs).flatten()

    def _terms(self, candidates: Candidates, objects: InstanceData, all_costs: bool) -> Iterator[Tensor]:
        """(n, num_gts) of each cost, or of those that compare no masks."""
        for cost in self.match_costs:
            try:
                yield cost(candidates, objects, img_meta=UNIT_IMAGE)
            except NoMasksError:
                if all_costs:
                    raise

    def _solve(self, flat: np.ndarray, group: QueryGroup, targets: Sequence[Targets]) -> Pairs:
        num_stages, _, num_queries = group.stages.boxes.shape[:3]
        device = group.stages.boxes.device
        pairs, per_image = [np.zeros((4, 0), np.int64)], [0] * len(targets)
        for image, target in enumerate(targets):
            num_gts = len(target.labels)
            size = num_stages * num_queries * num_gts
            matrices, flat = flat[:size].reshape(num_stages, num_queries, num_gts), flat[size:]
            for stage, matrix in enumerate(matrices if num_gts else ()):
                queries, gts = _cheapest(matrix, group.copies(num_gts))
                pairs.append(np.stack([np.full_like(queries, stage), np.full_like(queries, image), queries, gts]))
                per_image[image] += len(queries)
        indices = torch.from_numpy(np.concatenate(pairs, 1)).to(device, non_blocking=True)
        return Pairs(*indices, tuple(per_image))

    def _to_host(self, costs: list[Tensor]) -> np.ndarray:
        """One copy for all; what is not finite becomes a large finite cost, is counted, and warned about once."""
        if not costs:
            return np.zeros(0, np.float32)
        flat = torch.cat(costs).cpu()
        finite = flat.isfinite()
        if not finite.all():
            count = int((~finite).sum())
            if not self.num_sanitized:
                print_log(
                    f'{count} of {flat.numel()} matching costs are not finite: the predictions hold NaN or inf. They '
                    'are treated as very expensive and training goes on; if the loss is not finite either, lower the '
                    'learning rate or train in bfloat16 or float32. Further cases are only counted.',
                    logger='current',
                    level=30,
                )
            self.num_sanitized += count
            # Larger than any sum of real costs, and small enough that sums of it stay exact enough to rank the rest.
            flat = torch.where(finite, flat, flat.new_tensor(1e6))
        return flat.numpy()


def _cheapest(costs: np.ndarray, num_copies: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries and their objects, from costs (num_queries, num_gts), each object ``num_copies`` times."""
    queries, gts = linear_sum_assignment(np.tile(costs, num_copies))
    return queries, gts % costs.shape[1]


def _objects(target: Targets, masks: Tensor | None) -> InstanceData:
    boxes = dict(boxes=target.boxes, bboxes=cxcywh_to_xyxy(target.boxes))
    data = InstanceData(labels=target.labels, is_thing=target.is_thing, **boxes)
    if masks is not None:
        data.masks = masks
    return data
