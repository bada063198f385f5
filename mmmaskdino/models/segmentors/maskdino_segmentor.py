"""MaskDINOSegmentor: mmseg's EncoderDecoder for images of any size."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import add_prefix
from torch import Tensor

from mmmaskdino.models.backbones.map_checks import check_maps
from mmmaskdino.models.decode_heads.maskdino_decode_head import split_images
from mmmaskdino.models.seg_heads.image_queries import ImageFrames
from mmmaskdino.ops.device import without_autocast
from mmmaskdino.ops.mask_strips import best_classes, resized_bands
from mmmaskdino.structures import Shape

from .windows import WindowSettings, window_starts

STRIDE = 32  # of the coarsest map; the network's input is a multiple of it


@MODELS.register_module()
class MaskDINOSegmentor(EncoderDecoder):
    """Semantic segmentation whose results depend on the image alone and whose memory does not grow with its height.

    mmseg's ``EncoderDecoder`` holds a map per class of the original image's size. Here labels are decided a strip of
    rows at a time, so results have ``pred_sem_seg`` but no ``seg_logits``. The padding that the data preprocessor has
    added is taken away; image or window is padded to a multiple of 32, and that padding is masked.

    Args:
        decode_head (dict): Config of :class:`MaskDINODecodeHead`.
        test_cfg (dict | None): ``mode='whole'``, or ``mode='slide'`` with ``crop_size`` and ``stride`` (h, w) in pixels
            of the network's input. With sliding windows, the class maps of windows that overlap are averaged.
        segmentor: The other arguments of mmseg's ``EncoderDecoder``.

    Raises:
        ValueError: If ``test_cfg`` has an unknown key, or windows that leave gaps.
    """

    def __init__(self, decode_head: dict, test_cfg: dict | None = None, **segmentor: Any) -> None:
        super().__init__(decode_head=decode_head, test_cfg=test_cfg, **segmentor)
        self.windows = WindowSettings.from_config(test_cfg)

    def extract_feat(self, inputs: Tensor) -> Sequence[Tensor]:
        """Maps (bs, channels, h, w) of the backbone (and neck) from images (bs, 3, H, W)."""
        features = super().extract_feat(inputs)
        pixel_decoder = self.decode_head.pixel_decoder
        check_maps(inputs, features, pixel_decoder.in_channels, pixel_decoder.in_strides)
        return features

    def loss(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """Training losses, as of mmseg's ``EncoderDecoder``.

        Args:
            inputs (Tensor): Normalised images (bs, 3, H, W).
            data_samples (Sequence[SegDataSample]): Ground truth.

        Returns:
            dict[str, Tensor]: Named losses.
        """
        # Before the backbone: reading which classes are present would wait for all that a device has to do.
        truth = self.decode_head.ground_truth(data_samples, inputs.device)
        features = self.extract_feat(inputs)
        losses = add_prefix(self.decode_head.loss(features, data_samples, self.train_cfg, truth), 'decode')
        if self.with_auxiliary_head:
            losses |= self._auxiliary_head_forward_train(features, data_samples)
        return losses

    @torch.no_grad()
    def predict(self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None) -> list[SegDataSample]:
        """Label maps of the original size.

        Args:
            inputs (Tensor): Normalised images (bs, 3, H, W).
            data_samples (Sequence[SegDataSample] | None): ``ori_shape``, ``img_padding_size`` or ``padding_size``
                (left, right, top, bottom), ``flip`` and ``flip_direction``; None: nothing is padded or resized.

        Returns:
            list[SegDataSample]: The samples with ``pred_sem_seg`` (1, h, w) int64.

        Raises:
            ValueError: If the images of the batch have different sizes.
        """
        if data_samples is None:
            metainfo = dict(ori_shape=tuple(inputs.shape[-2:]))
            data_samples = [SegDataSample(metainfo=metainfo) for _ in inputs]
        images = without_padding(inputs, data_samples)
        sizes = [tuple(sample.ori_shape[:2]) for sample in data_samples]
        strips_of_images = self._whole(images, sizes) if self.windows is None else self._slide(images, sizes)
        for sample, strips in zip(data_samples, strips_of_images, strict=True):
            labels = best_classes(strips)[None]
            sample.set_data(dict(pred_sem_seg=PixelData(data=_flip_back(labels, sample))))
        return list(data_samples)

    def _whole(self, images: Tensor, sizes: Sequence[Shape]) -> Iterator[Iterator[Tensor]]:
        """Per image, its class maps of the wanted size (num_classes, rows, w), strip by strip."""
        padded = pad_to_stride(images)
        canvas, image = tuple(padded.shape[-2:]), tuple(images.shape[-2:])
        prediction, mask_features = self.decode_head.decode(self.extract_feat(padded), canvas, image)
        with without_autocast(images):
            for queries, size in zip(split_images(prediction, mask_features), sizes, strict=True):
                yield self.decode_head.fusion.semantic_strips(queries, ImageFrames(canvas, image, size))

    def _slide(self, images: Tensor, sizes: Sequence[Shape]) -> Iterator[Iterator[Tensor]]:
        """The same from overlapping windows."""
        for image, size in zip(images, sizes, strict=True):
            yield resized_bands(self._window_bands(image), tuple(image.shape[-2:]), size)

    def _window_bands(self, image: Tensor) -> Iterator[Tensor]:
        """Averaged class maps (num_classes, rows, w) of an image (3, h, w) from the top, as soon as no window adds."""
        height, width = image.shape[-2:]
        (window_height, window_width), (stride_y, stride_x) = self.windows
        window_height, window_width = min(window_height, height), min(window_width, width)
        tops, lefts = window_starts(height, window_height, stride_y), window_starts(width, window_width, stride_x)
        sums = image.new_zeros(self.num_classes, window_height, width)
        counts = image.new_zeros(window_height, width)
        for top, following in zip(tops, chain(tops[1:], [height]), strict=True):
            for left in lefts:
                columns = slice(left, left + window_width)
                sums[..., columns] += self._window_maps(image[:, top : top + window_height, columns])
                counts[:, columns] += 1
            complete = following - top
            yield sums[:, :complete] / counts[:complete]
            sums, counts = (F.pad(x[..., complete:, :], (0, 0, 0, complete)) for x in (sums, counts))

    def _window_maps(self, window: Tensor) -> Tensor:
        """Class maps (num_classes, h, w) of a window (3, h, w)."""
        padded = pad_to_stride(window[None])
        features = self.extract_feat(padded)
        return self.decode_head.class_maps(features, tuple(padded.shape[-2:]), tuple(window.shape[-2:]))[0]


def pad_to_stride(images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % STRIDE, 0, -height % STRIDE))


def without_padding(inputs: Tensor, samples: Sequence[SegDataSample]) -> Tensor:
    """The images as they were before the data preprocessor padded them."""
    paddings = {tuple(s.get('img_padding_size', s.get('padding_size', (0, 0, 0, 0)))) for s in samples}
    if len(paddings) > 1:
        raise ValueError(
            f'expected images of one size in a test batch, got paddings (left, right, top, bottom) {sorted(paddings)}; '
            'set test_dataloader.batch_size=1'
        )
    left, right, top, bottom = paddings.pop()
    height, width = inputs.shape[-2:]
    return inputs[..., top : height - bottom, left : width - right]


def _flip_back(labels: Tensor, sample: SegDataSample) -> Tensor:
    if not sample.get('flip'):
        return labels
    return labels.flip(dict(horizontal=-1, vertical=-2)[sample.flip_direction])
