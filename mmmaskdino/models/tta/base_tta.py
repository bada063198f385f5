"""What the wrappers for mmdet and mmseg share."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.model import BaseTTAModel
from mmengine.structures import BaseDataElement
from torch import nn

from mmmaskdino.ops.device import without_autocast

from .views import View, choose_reference

ViewOfSample = tuple[View, BaseDataElement]


class ModelWrapper(BaseTTAModel):
    """A model around a detector or segmentor, whose parts and state are the ones of that."""

    @property
    def panoptic_head(self) -> nn.Module:
        """The head of the detector."""
        return self.module.panoptic_head

    @property
    def panoptic_fusion_head(self) -> nn.Module:
        """The fusion head of the detector."""
        return self.module.panoptic_fusion_head

    @property
    def decode_head(self) -> nn.Module:
        """The head of the segmentor."""
        return self.module.decode_head

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The state of the model under its own names, by which mmengine loads checkpoints into it."""
        return self.module.state_dict(*args, **kwargs)


def check_merge_iou(key: str, merge_iou: float) -> float:
    """Return the least similarity of objects that are merged.

    Raises:
        ValueError: It does not lie in (0, 1].
    """
    if not 0 < merge_iou <= 1:
        raise ValueError(f'{key}.merge_iou must lie in (0, 1], got {merge_iou}')
    return merge_iou


class ViewsTTA(ModelWrapper):
    """Merges what the model predicts for several views of an image, before results are made of it."""

    @torch.no_grad()
    def test_step(self, data: dict) -> list[BaseDataElement]:
        """Results of a batch.

        Args:
            data (dict): ``inputs`` and ``data_samples``, each a list over the views of lists over the images.

        Returns:
            list[BaseDataElement]: Per image, the sample of the largest view with results of the original size.
        """
        of_views = [self.predict_view(batch) for batch in _split_views(data)]
        return self.merge_preds(list(zip(*of_views, strict=True)))

    def merge_preds(self, data_samples_list: Sequence[Sequence[ViewOfSample]]) -> list[BaseDataElement]:
        """Merge the views of each image."""
        return [self._merge_image(*zip(*views, strict=True)) for views in data_samples_list]

    def predict_view(self, batch: dict) -> list[ViewOfSample]:
        """What the model predicts for one view of each image of a batch."""
        raise NotImplementedError

    def set_results(self, sample: BaseDataElement, views: Sequence[View], reference: View) -> None:
        """Write the results of an image into its sample, in the frame of the reference."""
        raise NotImplementedError

    def _merge_image(self, views: Sequence[View], samples: Sequence[BaseDataElement]) -> BaseDataElement:
        reference = choose_reference(views)
        sample = next(sample for view, sample in zip(views, samples, strict=True) if view is reference)
        # Thresholds are compared in float32, whatever the precision of the model.
        with without_autocast(reference.queries.cls_logits):
            self.set_results(sample, views, reference)
        return sample


def _split_views(data: dict) -> Iterator[dict]:
    """The batch of each view."""
    for index in range(len(data['inputs'])):
        yield {key: value[index] for key, value in data.items()}
