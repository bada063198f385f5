"""From query predictions to instances, panoptic and semantic segmentations."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import MODELS
from mmdet.structures.mask import encode_mask_results
from mmengine.model import BaseModule
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor

from mmmaskdino.ops.device import from_host, parts, place_of_result, without_autocast
from mmmaskdino.ops.mask_strips import best_classes, combined_strips, mask_strips, row_strips

from .fusion_settings import FusionSettings
from .image_queries import ImageFrames, ImageQueries, boxes_px
from .mask_boxes import join_with_masks
from .mask_cut import cut_to_boxes


@MODELS.register_module()
class MaskDINOFusionHead(BaseModule):
    """Turns the last decoder stage's query predictions into results, one image at a time.

    Queries are chosen first; only their masks are built, and resized a strip of rows at a time (``mask_strips``), so
    that memory beside the result does not grow with the image.

    Args:
        num_things_classes (int): Number of thing classes; they come first.
        num_stuff_classes (int): Number of stuff classes, after the things.
        use_sigmoid (bool): True: ``cls_logits`` has one sigmoid column per class; False: softmax over the classes and
            a last no-object column.
        test_cfg (Mapping | None): See :class:`FusionSettings`, which lists the keys and their defaults.
        init_cfg (Mapping | None): As in any mmengine module; the head has no parameters.

    Raises:
        ValueError: For class counts or a ``test_cfg`` that cannot work.
    """

    def __init__(
        self,
        num_things_classes: int,
        num_stuff_classes: int = 0,
        use_sigmoid: bool = True,
        test_cfg: Mapping | None = None,
        init_cfg: Mapping | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_things_classes = num_things_classes
        self.num_stuff_classes = num_stuff_classes
        self.num_classes = num_things_classes + num_stuff_classes
        self.use_sigmoid = use_sigmoid
        self.settings = FusionSettings.from_config(test_cfg)
        self._check_class_counts()

    def _check_class_counts(self) -> None:
        counts = f'num_things_classes={self.num_things_classes}, num_stuff_classes={self.num_stuff_classes}'
        if min(self.num_things_classes, self.num_stuff_classes) < 0 or self.num_classes == 0:
            raise ValueError(f'class counts must not be negative and at least one must be positive, got {counts}')
        if self.settings.instance_on and self.num_things_classes == 0:
            raise ValueError(f'test_cfg.instance_on needs thing classes, got {counts}; set it to False')
        if self.settings.panoptic_on and self.num_classes >= INSTANCE_OFFSET:
            raise ValueError(
                f'a panoptic map is label + instance * {INSTANCE_OFFSET}, so test_cfg.panoptic_on needs fewer than '
                f'{INSTANCE_OFFSET} classes, got {counts}'
            )

    @torch.no_grad()
    def predict(
        self,
        cls_logits: Tensor,
        boxes: Tensor,
        mask_embeds: Tensor | None,
        mask_features: Tensor | None,
        batch_data_samples: Sequence[BaseDataElement],
        rescale: bool = True,
    ) -> list[dict]:
        """Results of a batch.

        Args:
            cls_logits (Tensor): (bs, num_queries, cls_out_channels).
            boxes (Tensor): (bs, num_queries, 4) cxcywh in [0, 1] of the padded canvas.
            mask_embeds (Tensor | None): (bs, num_queries, mask_dims), or None of a detection-only model.
            mask_features (Tensor | None): (bs, mask_dims, h, w), or None of a detection-only model.
            batch_data_samples (Sequence[BaseDataElement]): bs samples with metainfo ``batch_input_shape``,
                ``img_shape`` and ``ori_shape``.
            rescale (bool): Whether results are in the original image's frame instead of the resized one's.

        Returns:
            list[dict]: Per image, what ``test_cfg`` switches on:
            ``ins_results``: InstanceData, best first: bboxes (n, 4) xyxy in pixels, scores (n,), labels (n,) and, if
            there are masks, masks (n, H, W) bool, or with ``rle_masks`` a list of n COCO run-length codes.
            ``pan_results``: PixelData, sem_seg (1, H, W) int32: label + instance id * INSTANCE_OFFSET, the id of things
            counting from 1, of stuff 0; pixels of no segment are num_classes.
            ``sem_results``: PixelData, sem_seg (1, H, W) int64: labels.

        Raises:
            ValueError: For wrong shapes, for missing masks that ``test_cfg`` needs, for incomplete metainfo.
        """
        self._check_predictions(cls_logits, mask_embeds, mask_features)
        results = []
        # Thresholds are compared in float32, whatever the precision of the model.
        with without_autocast(cls_logits):
            for i, sample in enumerate(batch_data_samples):
                frames = ImageFrames.from_metainfo(sample.metainfo, rescale)
                of_image = (
                    None if x is None else x[i].float() for x in (cls_logits, boxes, mask_embeds, mask_features)
                )
                results.append(self.predict_image(ImageQueries(*of_image), frames))
        return results

    def _check_predictions(self, cls_logits: Tensor, mask_embeds: Tensor | None, mask_features: Tensor | None) -> None:
        expected = self.num_classes + (not self.use_sigmoid)
        if cls_logits.shape[-1] != expected:
            raise ValueError(
                f'the fusion head expects {expected} class columns (num_things_classes={self.num_things_classes}, '
                f'num_stuff_classes={self.num_stuff_classes}, use_sigmoid={self.use_sigmoid}), got cls_logits of shape '
                f'{tuple(cls_logits.shape)}; the class counts of the head and the fusion head must be the same'
            )
        if (mask_embeds is None or mask_features is None) and (self.settings.panoptic_on or self.settings.semantic_on):
            raise ValueError(
                'test_cfg.panoptic_on and test_cfg.semantic_on need masks, but this model predicts none; set them to '
                'False for a detection-only model'
            )

    def predict_image(self, queries: ImageQueries, frames: ImageFrames) -> dict:
        """The dict of results of one image, see :meth:`predict`."""
        results = {}
        if self.settings.instance_on:
            results['ins_results'] = self.predict_instances(queries, frames)
        if self.settings.panoptic_on:
            results['pan_results'] = PixelData(sem_seg=self.panoptic_map(queries, frames)[None])
        if self.settings.semantic_on:
            results['sem_results'] = PixelData(sem_seg=best_classes(self.semantic_strips(queries, frames))[None])
        return results

    # ---------------------------------------------------------------- instances

    def predict_instances(self, queries: ImageQueries, frames: ImageFrames) -> InstanceData:
        """The best (query, class) pairs as instances, by descending score.

        The final score is the class score times the mean mask probability inside the mask; without masks it is the
        class score alone. Boxes are the predicted ones, which may reach beyond the image, or with ``mask_box_weight``
        the means of them and of those around the masks.
        """
        scores, labels, chosen, unique, which = self._chosen_and_unique(queries.cls_logits)
        with_masks = self.settings.with_masks and queries.mask_embeds is not None
        if with_masks:
            if self.settings.rle_masks:
                masks, quality = self._encoded_masks(queries, unique, frames)
            else:
                place = place_of_result(len(chosen) * frames.output[0] * frames.output[1], chosen)
                masks = torch.zeros(len(chosen), *frames.output, dtype=torch.bool, device=place)
                quality = self._build_masks(queries, unique, frames, masks)
            scores = scores * quality[which]
        scores, order = scores.sort(descending=True, stable=True)
        if self.settings.score_thr > 0:
            kept = (scores >= self.settings.score_thr).nonzero()[:, 0]
            scores, order = scores[kept], order[kept]
        bboxes = boxes_px(queries.boxes[chosen[order]], frames)
        results = InstanceData(bboxes=bboxes, scores=scores, labels=labels[order])
        if with_masks and self.settings.rle_masks:
            results.masks = [masks[i] for i in which[order].tolist()]
        elif with_masks:
            results = results.to(masks.device)
            results.masks = _rearranged(masks, which[order].to(masks.device))
        if with_masks and self.settings.mask_box_weight:
            results.bboxes = join_with_masks(results.bboxes, results.masks, self.settings.mask_box_weight)
        return results

    def _chosen_and_unique(self, cls_logits: Tensor) -> tuple[Tensor, ...]:
        """What :meth:`choose_instances` returns, its queries without doubles, and which of those each pair has.

        A query can be chosen for several classes, but its mask is built once. How many there are is the one thing for
        which the CPU waits (with ``score_thr``, it also waits for the number of instances that their masks leave).
        """
        scores, labels, queries, is_wanted = self._best_pairs(cls_logits)
        wanted, on_host = torch.stack([is_wanted, queries]).cpu().numpy()
        kept = np.flatnonzero(wanted)
        unique, which = np.unique(on_host[kept], return_inverse=True)
        kept, unique, which = (from_host(x.tolist(), queries, torch.int64) for x in (kept, unique, which))
        return scores[kept], labels[kept], queries[kept], unique, which

    def choose_instances(self, cls_logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, labels and query indices, each (n,), of the best pairs by class score, in descending order."""
        scores, labels, queries, is_wanted = self._best_pairs(cls_logits)
        return scores[is_wanted], labels[is_wanted], queries[is_wanted]

    def _best_pairs(self, cls_logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scores, labels and query indices of the best pairs, and whether each is a thing above the threshold."""
        scores = self.class_scores(cls_logits)
        if not self.settings.topk_before_stuff_removal:
            scores = scores[:, : self.num_things_classes]
        num_columns = scores.shape[1]
        scores, pairs = scores.flatten().topk(min(self.settings.max_per_image, scores.numel()))
        labels = pairs % num_columns
        # A mask can only lower a score, so what is below the threshold now needs no mask.
        is_wanted = (labels < self.num_things_classes) & (scores >= self.settings.score_thr)
        return scores, labels, pairs // num_columns, is_wanted

    def _build_masks(self, queries: ImageQueries, chosen: Tensor, frames: ImageFrames, masks: Tensor) -> Tensor:
        """Write the masks of n chosen queries to masks[:n] (at least n, H, W) and return their quality (n,).

        Quality is the mean mask probability inside the mask, in [0, 1], 0 for an empty mask.
        """
        area = torch.zeros(len(chosen), dtype=torch.long, device=chosen.device)
        total = torch.zeros(len(chosen), device=chosen.device)
        if len(chosen):
            for rows, logits in mask_strips(self.thing_masks(queries, chosen), frames):
                inside = logits > 0
                masks[: len(chosen), rows] = inside
                area += inside.sum((1, 2))
                total += logits.sigmoid_().mul_(inside).sum((1, 2))
        return total / (area + 1e-6)

    def _encoded_masks(self, queries: ImageQueries, chosen: Tensor, frames: ImageFrames) -> tuple[list[dict], Tensor]:
        """Run-length codes and quality (n,) of the masks of n chosen queries, a few masks at a time."""
        codes, quality = [], []
        # A byte per pixel is a quarter of a float.
        for part in parts(len(chosen), frames.output[0] * frames.output[1] // 4, chosen):
            part = chosen[part]
            masks = torch.zeros(len(part), *frames.output, dtype=torch.bool, device=part.device)
            quality.append(self._build_masks(queries, part, frames, masks))
            codes += encode_mask_results(masks.cpu().numpy())
        return codes, torch.cat(quality)

    # ----------------------------------------------------------------- panoptic

    def panoptic_map(self, queries: ImageQueries, frames: ImageFrames) -> Tensor:
        """The panoptic segmentation (H, W) int32, see :meth:`predict`.

        Each pixel goes to the query with the largest class score * mask probability, if its own mask probability
        there is at least 0.5. The CPU waits for the device once, for the number of kept queries.
        """
        scores, labels, kept = self.choose_segments(queries.cls_logits)
        if not len(kept):
            return torch.full(frames.output, self.num_classes, dtype=torch.int32, device=scores.device)
        own_area = torch.zeros(len(kept), dtype=torch.long, device=scores.device)
        counts = torch.zeros(2 * len(kept), dtype=torch.long, device=scores.device)
        # 2 * segment + 1 where the segment's own mask agrees; in few bytes, since it is as large as the result.
        dtype = torch.int16 if 2 * len(kept) < 2**15 else torch.int32
        winner = torch.empty(frames.output, dtype=dtype, device=scores.device)
        for rows, logits in mask_strips(self.segment_masks(queries, kept, labels), frames):
            probs = logits.sigmoid_()
            own_area += (probs >= 0.5).sum((1, 2))
            best = (probs * scores[:, None, None]).argmax(0)
            best = 2 * best + (probs.gather(0, best[None])[0] >= 0.5)
            # Counted per row first: fewer pixels wait for the same counter.
            per_row = counts.new_zeros(len(best), len(counts))
            counts += per_row.scatter_add_(1, best, best.new_ones(()).expand_as(best)).sum(0)
            winner[rows] = best
        values = self._segment_values(counts.unflatten(0, (-1, 2)), labels, own_area)
        result = torch.empty(frames.output, dtype=torch.int32, device=scores.device)
        for rows in row_strips(1, *frames.output, winner):
            result[rows] = values[winner[rows].long()]
        return result

    def choose_segments(self, cls_logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, labels and query indices, each (n,), of the queries that compete for pixels."""
        if not self.use_sigmoid:  # a query that is most likely no object is left out, whatever the threshold
            scores, labels = cls_logits.softmax(-1).max(-1)
            kept = ((scores > self.settings.object_mask_thr) & (labels < self.num_classes)).nonzero()[:, 0]
            return scores[kept], labels[kept], kept
        kept = (self.class_scores(cls_logits).amax(-1) > self.settings.object_mask_thr).nonzero()[:, 0]
        scores, labels = self.sharpened_scores(cls_logits).max(-1)
        return scores[kept], labels[kept], kept

    def _segment_values(self, counts: Tensor, labels: Tensor, own_area: Tensor) -> Tensor:
        """What to write where ``winner`` is 0, 1, ...: (2n,) int32; ``counts`` (n, 2) says how often each occurs."""
        won, visible = counts.sum(1), counts[:, 1]
        keep = (visible > 0) & (won / own_area >= self.settings.overlap_thr)
        is_thing = labels < self.num_things_classes
        number = (keep & is_thing).cumsum(0) * is_thing
        values = torch.full((len(labels), 2), self.num_classes, dtype=torch.int32, device=labels.device)
        values[:, 1] = torch.where(keep, labels + number * INSTANCE_OFFSET, self.num_classes)
        return values.flatten()

    # ----------------------------------------------------------------- semantic

    def semantic_scores(self, queries: ImageQueries, frames: ImageFrames) -> Tensor:
        """Class score maps (num_classes, H, W) of one image; :meth:`predict` never holds them whole."""
        return torch.cat(list(self.semantic_strips(queries, frames)), dim=1)

    def semantic_strips(self, queries: ImageQueries, frames: ImageFrames) -> Iterator[Tensor]:
        """Class score maps (num_classes, rows, W), strip by strip from the top."""
        class_scores = self.sharpened_scores(queries.cls_logits).T
        mask_logits = self.masks_of_all(queries)

        def combine(logits: Tensor) -> Tensor:
            return (class_scores @ logits.sigmoid().flatten(1)).unflatten(1, logits.shape[1:])

        if self.settings.semantic_before_resize:
            strips = combined_strips(mask_logits, frames, combine, self.num_classes)
            return (scores for _, scores in strips)
        return (combine(logits) for _, logits in mask_strips(mask_logits, frames, self.num_classes))

    # -------------------------------------------------------------------- masks

    def thing_masks(self, queries: ImageQueries, index: Tensor) -> Tensor:
        """Mask logits (n, h, w) of queries that are things, on the grid of the mask features."""
        return self._cut(queries, index)

    def segment_masks(self, queries: ImageQueries, index: Tensor, labels: Tensor) -> Tensor:
        """Mask logits (n, h, w) of queries of these classes (n,), on the grid of the mask features."""
        return self._cut(queries, index, labels < self.num_things_classes)

    def masks_of_all(self, queries: ImageQueries) -> Tensor:
        """Mask logits (num_queries, h, w) on the grid of the mask features; those that may be stuff are whole."""
        scores, labels = self.class_scores(queries.cls_logits).max(-1)
        is_thing = (labels < self.num_things_classes) & (scores > self.settings.object_mask_thr)
        return self._cut(queries, slice(None), is_thing)

    def _cut(self, queries: ImageQueries, index: Tensor | slice, is_thing: Tensor | None = None) -> Tensor:
        mask_logits = queries.mask_logits(index)
        if self.settings.box_margin is None:
            return mask_logits
        return cut_to_boxes(mask_logits, queries.boxes[index], self.settings.box_margin, is_thing)

    # ------------------------------------------------------------- class scores

    def class_scores(self, cls_logits: Tensor) -> Tensor:
        """Class probabilities (num_queries, num_classes)."""
        return cls_logits.sigmoid() if self.use_sigmoid else cls_logits.softmax(-1)[:, :-1]

    def sharpened_scores(self, cls_logits: Tensor) -> Tensor:
        """Class scores (num_queries, num_classes) of sigmoid models as competing classes; of softmax models as is."""
        scores = self.class_scores(cls_logits)
        if self.use_sigmoid and self.settings.temperature is not None:
            scores = (scores / self.settings.temperature).softmax(-1)
        return scores


def _rearranged(masks: Tensor, order: Tensor) -> Tensor:
    """masks[order] in the memory of masks (n, H, W), which can be gigabytes; ``order`` has at most n entries."""
    if not len(order):
        return masks[:0]
    for rows in row_strips(len(order), *masks.shape[1:], masks):
        masks[: len(order), rows] = masks[:, rows][order]
    return masks[: len(order)]
