"""The file of all predictions that a test writes."""

from collections.abc import Sequence

from mmdet.evaluation import DumpDetResults
from mmdet.registry import METRICS


@METRICS.register_module()
class DumpedResults(DumpDetResults):
    """mmdet's `DumpDetResults`, also for masks that are run-length codes already.

    Those of models with ``test_cfg.rle_masks`` and of images in tiles are; mmdet's encodes tensors alone.

    Args: as ``DumpDetResults``.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the predictions of a batch, masks as run-length codes."""
        coded = [_codes(sample) for sample in data_samples]
        plain = [
            sample if codes is None else _without_masks(sample)
            for sample, codes in zip(data_samples, coded, strict=True)
        ]
        first = len(self.results)
        super().process(data_batch, plain)
        for sample, codes in zip(self.results[first:], coded, strict=True):
            if codes is not None:
                sample['pred_instances']['masks'] = codes


def _codes(sample: dict) -> list[dict] | None:
    masks = sample.get('pred_instances', {}).get('masks')
    return masks if isinstance(masks, list) else None


def _without_masks(sample: dict) -> dict:
    instances = {key: value for key, value in sample['pred_instances'].items() if key != 'masks'}
    return dict(sample, pred_instances=instances)
