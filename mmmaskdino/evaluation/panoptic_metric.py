"""mmdet's panoptic metric without panopticapi, and without writing PNGs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from mmmaskdino.datasets.files import DataError
from mmmaskdino.evaluation.panoptic_files import PanopticFiles, PanopticWriter, categories_of
from mmmaskdino.evaluation.panoptic_quality import VOID, MatchCounts, PanopticImage, PanopticQuality, count_matches
from mmmaskdino.evaluation.panoptic_table import format_table


@METRICS.register_module()
class PanopticQualityMetric(BaseMetric):
    """Panoptic, segmentation and recognition quality of all classes, things and stuff, in percent.

    Every image is matched as soon as it is predicted, so that only a few numbers per image are kept and gathered from
    the processes.

    Args:
        ann_file: Panoptic json of the ground truth; the dataset's classes are found in it by name.
        seg_prefix: Folder of the ground truth's PNGs.
        classwise: Whether to print the qualities of every class, too.
        outfile_prefix: Also write the predictions in COCO's result format: ``{outfile_prefix}.panoptic.json`` and the
            folder ``{outfile_prefix}.panoptic`` of PNGs.
        format_only: Only write the predictions; for images whose ground truth is not public.
        backend_args: Arguments of mmengine's file backend.
        collect_device: 'cpu' or 'gpu', where the processes exchange results.
        prefix: Prefix of the metrics' names, 'coco_panoptic' by default.
        collect_dir: Folder to exchange results in; only with 'cpu'.

    Raises:
        ValueError: While evaluating: a class is no category, a segment's category is no class, an image has no ground
            truth or an unreadable one, a prediction has another size than the ground truth, or nothing was evaluated.
    """

    default_prefix = 'coco_panoptic'

    def __init__(
        self,
        ann_file: str,
        seg_prefix: str,
        classwise: bool = False,
        outfile_prefix: str | None = None,
        format_only: bool = False,
        backend_args: dict[str, Any] | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.ann_file = ann_file
        self.seg_prefix = seg_prefix
        if format_only and not outfile_prefix:
            raise ValueError('PanopticQualityMetric: format_only=True needs an outfile_prefix to write to')
        self.classwise = classwise
        self.outfile_prefix = outfile_prefix
        self.format_only = format_only
        self.backend_args = backend_args
        self._is_thing: np.ndarray | None = None  # (num_classes,) bool, once ann_file is read
        self._ground_truth: PanopticFiles | None = None
        self._writer: PanopticWriter | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Match the predictions of a batch.

        Args:
            data_batch: Not used.
            data_samples: Per image, 'img_id' and the prediction under 'pred_panoptic_seg', 'sem_seg': (1, h, w)
                integer tensor of label + 1000 * instance, or num_classes where nothing is predicted.
        """
        self._read_ann_file()
        num_classes = len(self.dataset_meta['classes'])
        for data_sample in data_samples:
            pred = predicted_image(data_sample, num_classes)
            counts = annotation = None
            if self._ground_truth:
                counts = count_matches(self._ground_truth.load(data_sample['img_id']), pred, num_classes)
            if self._writer:
                annotation = self._writer.write(data_sample['img_id'], pred)
            self.results.append((counts, annotation))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Average over the classes.

        Args:
            results: What :meth:`process` stored, of all images.

        Returns:
            'PQ', 'SQ', 'RQ' in [0, 100], and the same with '_th' for things and '_st' for stuff; nan where no class of
            the kind occurs. Nothing with ``format_only``.
        """
        if not results:
            raise DataError(f'{self.ann_file}: nothing was evaluated, the dataset is empty')
        self._read_ann_file()  # this process may have got no image
        if self._writer:
            self._writer.write_json([annotation for _, annotation in results])
        if self.format_only:
            return {}
        quality = PanopticQuality(len(self.dataset_meta['classes']))
        for counts, _ in results:
            quality.add(MatchCounts(*counts))  # the collection makes named tuples plain
        kinds = {'': np.ones_like(self._is_thing), '_th': self._is_thing, '_st': ~self._is_thing}
        averages = {suffix: quality.average(classes) for suffix, classes in kinds.items()}
        table = format_table(quality, self._is_thing, self.dataset_meta['classes'] if self.classwise else None)
        MMLogger.get_current_instance().info('Panoptic quality\n' + table)
        return {f'{k.upper()}{suffix}': 100 * v[k] for suffix, v in averages.items() for k in ('pq', 'sq', 'rq')}

    def _read_ann_file(self) -> None:
        if self._is_thing is not None:
            return
        categories = categories_of(self.dataset_meta['classes'], self.ann_file, self.backend_args)
        category_ids = [category['id'] for category in categories]
        if not self.format_only:
            labels = {category_id: label for label, category_id in enumerate(category_ids)}
            self._ground_truth = PanopticFiles(self.ann_file, self.seg_prefix, labels, self.backend_args)
        if self.outfile_prefix:
            self._writer = PanopticWriter(self.outfile_prefix, self.ann_file, category_ids, self.backend_args)
        self._is_thing = np.array([category['isthing'] for category in categories], bool)


def predicted_image(data_sample: dict, num_classes: int) -> PanopticImage:
    """The predicted segments of a data sample.

    Args:
        data_sample: As in :meth:`PanopticQualityMetric.process`.
        num_classes: Number of classes; the label that stands for void.
    """
    source = f'prediction for image {data_sample["img_id"]}'
    if 'pred_panoptic_seg' not in data_sample:
        raise DataError(f'{source}: no panoptic result; the model needs test_cfg=dict(panoptic_on=True)')
    segments = data_sample['pred_panoptic_seg']['sem_seg'].cpu().numpy()[0]
    # Shifted by one: the first segment of class 0 may be 0, which means void in a map of ids.
    id_map = np.where(segments % INSTANCE_OFFSET == num_classes, VOID, segments + 1)
    ids = np.setdiff1d(id_map, VOID).astype(np.int64)
    labels = (ids - 1) % INSTANCE_OFFSET
    if labels.max(initial=0) > num_classes:
        raise DataError(f'{source}: label {labels.max()} of {num_classes} classes')
    return PanopticImage(id_map, ids, labels, np.zeros(len(ids), bool), source)
