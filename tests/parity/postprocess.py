"""Post-processing of one image through `MaskDINOFusionHead`, in the terms of the recorded reference numbers."""

import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from mmmaskdino.models.seg_heads.image_queries import ImageFrames, ImageQueries, boxes_px
from mmmaskdino.models.seg_heads.maskdino_fusion_head import MaskDINOFusionHead


def postprocess(
    task: str, cls_logits: Tensor, mask_logits: Tensor, boxes: Tensor, meta: dict, settings: dict
) -> dict[str, Tensor]:
    """Results of one image.

    Args:
        task (str): 'instance', 'panoptic' or 'semantic'.
        cls_logits (Tensor): (num_queries, num_classes), one more column with `settings['softmax']`.
        mask_logits (Tensor): (num_queries, h, w).
        boxes (Tensor): (num_queries, 4) cxcywh in [0, 1].
        meta (dict): padded_size, image_size, original_size, each (h, w).
        settings (dict): num_classes, is_thing (num_classes,) bool with the things first, max_per_image, score_thr,
            overlap_thr, temperature, softmax, stuff_after_topk.

    Returns:
        instance: scores (n,), labels (n,), boxes (n, 4) xyxy pixels, masks (n, H, W) bool.
        panoptic: category (H, W), -1 where nothing; segment (H, W), 0 where nothing.
        semantic: scores (num_classes, H, W).
    """
    head = _fusion_head(task, settings)
    frames = ImageFrames(*(tuple(meta[key]) for key in ('padded_size', 'image_size', 'original_size')))
    # Lazy masks whose embeddings are unit vectors: the mask features are the masks.
    predictions = (cls_logits, boxes, torch.eye(len(mask_logits)), mask_logits)
    if task == 'semantic':
        return dict(scores=head.semantic_scores(ImageQueries(*predictions), frames))
    metainfo = dict(batch_input_shape=frames.canvas, img_shape=frames.image, ori_shape=frames.output)
    result = head.predict(*(x[None] for x in predictions), [BaseDataElement(metainfo=metainfo)])[0]
    if task == 'instance':
        found = _as_listed(result['ins_results'], head, cls_logits, boxes_px(boxes, frames))
        return dict(scores=found.scores, labels=found.labels, boxes=found.bboxes, masks=found.masks)
    values = result['pan_results'].sem_seg[0].long()
    void = values == settings['num_classes']
    return dict(category=(values % INSTANCE_OFFSET).masked_fill(void, -1), segment=(values + 1).masked_fill(void, 0))


def _as_listed(found: InstanceData, head: MaskDINOFusionHead, cls_logits: Tensor, boxes: Tensor) -> InstanceData:
    """The instances in the order in which the reference lists them: that of an unsorted top-k.

    Scores can be equal (those of empty masks are 0), and a sort that is not stable, as the comparison's, orders equal
    ones alike in two lists only if both come in the same order.
    """
    scores = cls_logits.sigmoid() if head.use_sigmoid else cls_logits.softmax(-1)[:, :-1]
    if not head.settings.topk_before_stuff_removal:
        scores = scores[:, : head.num_things_classes]
    pairs = scores.flatten().topk(min(head.settings.max_per_image, scores.numel()), sorted=False).indices
    queries, labels = pairs // scores.shape[1], pairs % scores.shape[1]
    same = (labels[:, None] == found.labels) & (boxes[queries][:, None] == found.bboxes).all(-1)
    if (same.sum(0) != 1).any():
        raise ValueError('the fusion head returned instances that are not among the best (query, class) pairs')
    return found[same.int().argmax(1)[same.any(1)]]


def _fusion_head(task: str, settings: dict) -> MaskDINOFusionHead:
    is_thing = settings['is_thing']
    num_things = int(is_thing.sum())
    if not is_thing[:num_things].all():
        raise ValueError(f'the fusion head numbers things first, got is_thing={is_thing.tolist()}')
    test_cfg = dict(
        instance_on=task == 'instance',
        panoptic_on=task == 'panoptic',
        semantic_on=task == 'semantic',
        max_per_image=settings['max_per_image'],
        overlap_thr=settings['overlap_thr'],
        temperature=settings['temperature'],
        topk_before_stuff_removal=settings['stuff_after_topk'],
        semantic_before_resize=bool(is_thing.all()),
    )
    test_cfg['object_mask_thr' if task == 'panoptic' else 'score_thr'] = settings['score_thr']
    return MaskDINOFusionHead(
        num_things, settings['num_classes'] - num_things, use_sigmoid=not settings['softmax'], test_cfg=test_cfg
    )
