"""Semantic segmentations of panoptic models, compared with panoptic annotations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet.evaluation import SemSegMetric
from mmdet.registry import METRICS

from mmmaskdino.datasets.files import DataError
from mmmaskdino.evaluation.panoptic_files import PanopticFiles, categories_of


@METRICS.register_module()
class PanopticIoUMetric(SemSegMetric):
    """Mean intersection over union of classes; every segment counts for its class, crowds too, void is ignored.

    mmdet's ``SemSegMetric`` wants a label map from the test pipeline, in the size the pipeline made it. This one reads
    the annotation in its own size, as :class:`PanopticQualityMetric` does, so both can judge one run.

    Args:
        ann_file: Panoptic json of the ground truth; the dataset's classes are found in it by name.
        seg_prefix: Folder of the ground truth's PNGs.
        iou_metrics: Any of 'mIoU', 'mDice', 'mFscore'.
        backend_args: Arguments of mmengine's file backend.
        collect_device: 'cpu' or 'gpu', where the processes exchange results.
        prefix: Prefix of the metrics' names, 'semantic' by default.

    Raises:
        ValueError: While evaluating: no semantic result, one of another size than the ground truth, or an image
            without sound ground truth.
    """

    default_prefix = 'semantic'

    def __init__(
        self,
        ann_file: str,
        seg_prefix: str,
        iou_metrics: Sequence[str] = ('mIoU',),
        backend_args: dict[str, Any] | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(list(iou_metrics), backend_args=backend_args, collect_device=collect_device, prefix=prefix)
        self.ann_file = ann_file
        self.seg_prefix = seg_prefix
        self._ground_truth: PanopticFiles | None = None  # once ann_file is read

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Compare the predictions of a batch.

        Args:
            data_batch: Not used.
            data_samples: Per image, 'img_id' and the prediction under 'pred_sem_seg', 'sem_seg': (1, h, w) labels.
        """
        num_classes = len(self.dataset_meta['classes'])
        for data_sample in data_samples:
            image_id = data_sample['img_id']
            if 'pred_sem_seg' not in data_sample:
                raise DataError(f'image {image_id}: no semantic result; the model needs test_cfg.semantic_on=True')
            predicted = data_sample['pred_sem_seg']['sem_seg'][0].cpu()
            labels = self._label_map(image_id, num_classes)
            if predicted.shape != labels.shape:
                raise DataError(
                    f'image {image_id}: a prediction of {tuple(predicted.shape)} pixels (height, width), but ground '
                    f'truth of {tuple(labels.shape)}'
                )
            self.results.append(self._compute_pred_stats(predicted, labels, num_classes, ignore_index=num_classes))

    def _label_map(self, image_id: int, num_classes: int) -> torch.Tensor:
        """(h, w) int64 labels, num_classes where void."""
        if self._ground_truth is None:
            categories = categories_of(self.dataset_meta['classes'], self.ann_file, self.backend_args)
            labels = {category['id']: label for label, category in enumerate(categories)}
            self._ground_truth = PanopticFiles(self.ann_file, self.seg_prefix, labels, self.backend_args)
        image = self._ground_truth.load(image_id)
        ids, position = np.unique(image.id_map, return_inverse=True)
        label_of_id = dict(zip(image.ids.tolist(), image.labels.tolist(), strict=True))
        labels = np.array([label_of_id.get(i, num_classes) for i in ids.tolist()])
        return torch.from_numpy(labels[position].reshape(image.id_map.shape))
