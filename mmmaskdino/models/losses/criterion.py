"""The training loss: match, sample points, normalise, name the losses."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.utils import reduce_mean
from torch import Tensor, nn

from mmmaskdino.models.utils.boxes import box_ious, cxcywh_to_xyxy
from mmmaskdino.ops.device import from_host
from mmmaskdino.ops.points import PointFeatures
from mmmaskdino.structures import HeadOutput, Pairs, QueryGroup, StagePrediction, Targets

from .mask_losses import mask_losses
from .point_sampler import PointSampler


class Supervised(NamedTuple):
    """Predictions with the objects that they are to become: the matched ones, or those of the denoising."""

    stages: StagePrediction
    """Stacked: (num_stages, bs, num_queries, ...)."""
    pairs: Pairs
    """Queries of all stages and their objects."""
    num_objects: Tensor
    """() normaliser."""
    names: list[str]
    """Prefix of each stage's losses."""
    is_denoising: bool = False
    """Whether the queries are noised objects, whose pairs are known."""

    def of_pairs(self, field: Tensor) -> Tensor:
        """What the pairs' queries predict, (num_pairs, ...), from a field of the stages."""
        return field[self.pairs.stages, self.pairs.images, self.pairs.queries]

    def sum_per_stage(self, loss: Tensor) -> Tensor:
        """(num_stages,) from losses per pair."""
        return loss.new_zeros(len(self.stages.boxes)).index_add(0, self.pairs.stages, loss)


@MODELS.register_module()
class MaskDINOCriterion(nn.Module):
    """Losses of all stages (paper, section 3.3). Denoising is matching already done: the same losses with known pairs.

    Args:
        assigner (dict): Config of the assigner.
        loss_cls (dict): Config of the classification loss (:class:`QueryFocalLoss`, :class:`QueryCrossEntropyLoss`,
            :class:`PositionSupervisedFocalLoss`).
        loss_bbox (dict | None): Config of the L1 loss of cxcywh boxes in [0, 1].
        loss_iou (dict | None): Config of the loss of xyxy boxes.
        loss_mask (dict | None): Config of the loss of masks in points: :class:`PointBCELoss`, or another.
        loss_dice (dict | None): Config of a second one: :class:`PointDiceLoss`, one of mmdet, or one's own.
        num_points (int): Points per mask.
        oversample_ratio (float): Candidates per point of the importance sampling.
        importance_sample_ratio (float): Share of the points chosen by uncertainty.
        box_point_share (float): Share of the points drawn in the objects' boxes (see :class:`PointSampler`).
        decouple_stuff (bool): Whether stuff carries no box loss, nor those costs of the assigner that are wrapped in
            :class:`ThingOnlyCost` (paper, section 3.4). False treats stuff like things.

    A loss that is None is left out: a detection-only model has neither ``loss_mask`` nor ``loss_dice``.
    """

    def __init__(
        self,
        assigner: dict,
        loss_cls: dict,
        loss_bbox: dict | None = None,
        loss_iou: dict | None = None,
        loss_mask: dict | None = None,
        loss_dice: dict | None = None,
        num_points: int = 12544,
        oversample_ratio: float = 3.0,
        importance_sample_ratio: float = 0.75,
        decouple_stuff: bool = False,
        box_point_share: float = 0.0,
    ) -> None:
        super().__init__()
        self.assigner = TASK_UTILS.build(assigner)
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_bbox = loss_bbox and MODELS.build(loss_bbox)
        self.loss_iou = loss_iou and MODELS.build(loss_iou)
        self.loss_mask = loss_mask and MODELS.build(loss_mask)
        self.loss_dice = loss_dice and MODELS.build(loss_dice)
        self.point_sampler = PointSampler(num_points, oversample_ratio, importance_sample_ratio, box_point_share)
        self.decouple_stuff = decouple_stuff

    @property
    def with_masks(self) -> bool:
        """Whether a loss needs masks."""
        return self.loss_mask is not None or self.loss_dice is not None

    def forward(self, output: HeadOutput, targets: Sequence[Targets]) -> dict[str, Tensor]:
        """Named losses of a batch.

        Args:
            output (HeadOutput): Predictions.
            targets (Sequence[Targets]): Ground truth per image.

        Returns:
            dict[str, Tensor]: ``loss_cls, loss_bbox, ...`` of the last stage; of the others with prefix ``enc_`` and
            ``d0.`` (the initial queries), ``d1.`` ...; of denoising with ``dn_`` before the name, of what options add
            with a word of theirs.
        """
        if not self.decouple_stuff:
            targets = [t._replace(is_thing=torch.ones_like(t.is_thing)) for t in targets]
        features, masks, first = self._sample(output.mask_features, targets)
        num_objects, num_denoised, *num_further = self._num_objects(targets, output)
        # Hybrid matching: by class, box and mask (paper, section 3.3), of all stages together. It is the one place of a
        # training step that waits for the device.
        matched = [all_stages(output), *output.further]
        groups = [
            Supervised(group.stages, pairs, number, group.names)
            for group, pairs, number in zip(
                matched, self.match(matched, targets, features, masks), [num_objects, *num_further], strict=True
            )
        ]
        if output.denoising is not None:
            num_stages = len(output.denoising.boxes)
            names = [f'{name}dn_' for name in groups[0].names[-num_stages:]]
            groups.append(
                Supervised(output.denoising, _repeat(output.groups.pairs, num_stages), num_denoised, names, True)
            )
        losses = {}
        for with_masks in (True, False):
            some = [group for group in groups if (group.stages.mask_embeds is not None) == with_masks]
            if some:
                losses |= self._compare(some, targets, features, masks, first)
        return losses

    def _compare(self, groups: Sequence[Supervised], targets, features, masks, first) -> dict[str, Tensor]:
        """Named losses of groups that all have masks, or of groups that have none."""
        # What is compared pair by pair is compared for all groups at once.
        of_pairs = self.loss_boxes(groups, targets)
        if self.with_masks and groups[0].stages.mask_embeds is not None:
            of_pairs |= self.loss_masks(groups, features, masks, first)
        losses = {}
        for i, group in enumerate(groups):
            terms = {'loss_cls': self.loss_labels(group, targets)}
            terms |= {name: group.sum_per_stage(values[i]) / group.num_objects for name, values in of_pairs.items()}
            losses |= _name(terms, group.names)
        return losses

    def match(self, groups, targets, features, masks) -> list[Pairs]:
        """Pairs of each group (arguments as of the assigner); matching takes the first of the sampled points."""
        if features is not None:
            num_points = self.point_sampler.num_points
            features = [f.first(num_points) for f in features]
            masks = [m[:, :num_points] for m in masks]
        return self.assigner.assign_groups(groups, targets, features, masks)

    def _sample(self, mask_features: Tensor | None, targets: Sequence[Targets]):
        if not self.with_masks:
            return None, None, None
        return self.point_sampler.sample(mask_features, targets)

    @staticmethod
    def _num_objects(targets: Sequence[Targets], output: HeadOutput) -> Tensor:
        """Of a rank on average, at least one (group of copies): objects, their noised copies, those in further groups.

        Stuff counts, even where it carries no box loss. Of an image with more objects than the denoising has queries,
        some have copies. Shape (2 + num_further,).
        """
        groups, like = output.groups, output.matching.boxes
        num_groups = 1 if groups is None else groups.num_groups
        num_copies = 0 if groups is None else sum(groups.pairs.per_image)
        sizes = [len(t.labels) for t in targets]
        further = [sum(size * group.copies(size) for size in sizes) for group in output.further]
        counts = from_host([sum(sizes), num_copies / num_groups, *further], like)
        return reduce_mean(counts).clamp(min=1) * from_host([1, num_groups, *(1 for _ in further)], like)

    def loss_labels(self, group: Supervised, targets: Sequence[Targets]) -> Tensor:
        """Losses per stage, (num_stages,)."""
        cls_logits, pairs = group.stages.cls_logits.float(), group.pairs
        no_object = cls_logits.shape[-1] - self.loss_cls.num_extra_channels
        labels = torch.full(cls_logits.shape[:3], no_object, device=cls_logits.device)
        labels[pairs.stages, pairs.images, pairs.queries] = _of_pairs([t.labels for t in targets], pairs)
        if group.is_denoising or not getattr(self.loss_cls, 'reads_overlaps', False):
            return self.loss_cls(cls_logits, labels, group.num_objects)
        overlaps = cls_logits.new_zeros(labels.shape)
        overlaps[pairs.stages, pairs.images, pairs.queries] = self._overlaps(group, targets)
        return self.loss_cls(cls_logits, labels, group.num_objects, overlaps)

    @staticmethod
    def _overlaps(group: Supervised, targets: Sequence[Targets]) -> Tensor:
        """(num_pairs,) IoU of the pairs' boxes, which is no variable of a loss; NaN for stuff without box."""
        boxes, is_thing = (
            _of_pairs([getattr(t, name) for t in targets], group.pairs) for name in ('boxes', 'is_thing')
        )
        ious = box_ious(group.of_pairs(group.stages.boxes).detach().float(), boxes.float())
        return torch.where(is_thing, ious, torch.nan)

    def loss_boxes(self, groups: Sequence[Supervised], targets: Sequence[Targets]) -> dict[str, Sequence[Tensor]]:
        """Box losses per pair, group by group."""
        predicted = torch.cat([group.of_pairs(group.stages.boxes) for group in groups])
        wanted = torch.cat([_of_pairs([t.boxes for t in targets], group.pairs) for group in groups])
        is_thing = torch.cat([_of_pairs([t.is_thing for t in targets], group.pairs) for group in groups])
        losses = {}
        if self.loss_bbox is not None:
            losses['loss_bbox'] = self.loss_bbox(predicted, wanted, reduction_override='none').sum(-1)
        if self.loss_iou is not None:
            predicted, wanted = cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(wanted)
            losses['loss_iou'] = self.loss_iou(predicted, wanted, reduction_override='none')
        sizes = [len(group.pairs.stages) for group in groups]
        # mmdet's losses of no pairs are scalars; times no objects they are none.
        return {name: (loss * is_thing).split(sizes) for name, loss in losses.items()}

    def loss_masks(
        self,
        groups: Sequence[Supervised],
        features: list[PointFeatures],
        masks: list[Tensor],
        first: list[Tensor | None],
    ) -> dict[str, Sequence[Tensor]]:
        """Mask losses per pair, group by group; computed image by image, since each has its own mask features."""
        embeds = [group.of_pairs(group.stages.mask_embeds).split(group.pairs.per_image) for group in groups]
        objects = [group.pairs.gts.split(group.pairs.per_image) for group in groups]
        terms = dict(loss_mask=self.loss_mask, loss_dice=self.loss_dice)
        terms = {name: loss for name, loss in terms.items() if loss is not None}
        parts = []
        for i, (feature, mask, looked_at) in enumerate(zip(features, masks, first, strict=True)):
            embed, chosen = (torch.cat([field[i] for field in fields]) for fields in (embeds, objects))
            losses = mask_losses(embed, feature, mask, chosen, self.point_sampler, terms, looked_at)
            parts.append({name: loss.split([len(field[i]) for field in objects]) for name, loss in losses.items()})
        return {name: [torch.cat([part[name][i] for part in parts]) for i in range(len(groups))] for name in terms}


def all_stages(output: HeadOutput) -> QueryGroup:
    """The encoder's stage, if there is one, and those of the decoder, of the queries that are matched."""
    stages, names = output.matching, _prefixes(len(output.matching.boxes))
    if output.encoder is None:
        return QueryGroup(stages, names)
    return QueryGroup(output.encoder.map(lambda *fields: torch.cat(fields), stages), ['enc_', *names])


def _repeat(pairs: Pairs, num_stages: int) -> Pairs:
    """The pairs of one stage for several, still ordered by image."""
    stages = torch.arange(num_stages, device=pairs.stages.device)
    parts = []
    for n, *fields in zip(pairs.per_image, *(f.split(pairs.per_image) for f in pairs[1:4]), strict=True):
        parts.append(torch.stack([stages.repeat_interleave(n), *(f.repeat(num_stages) for f in fields)]))
    return Pairs(*torch.cat(parts, 1), tuple(n * num_stages for n in pairs.per_image))


def _of_pairs(values: Sequence[Tensor], pairs: Pairs) -> Tensor:
    """What each pair's object has, (num_pairs, ...), from values per image (num_gts, ...)."""
    parts = zip(values, pairs.gts.split(pairs.per_image), strict=True)
    return torch.cat([value[gt] for value, gt in parts])


def _prefixes(num_stages: int) -> list[str]:
    return [f'd{i}.' for i in range(num_stages - 1)] + ['']


def _name(losses: dict[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    return {
        f'{prefix}{name}': value
        for name, values in losses.items()
        for prefix, value in zip(prefixes, values, strict=True)
    }
