"""An exported file in the place of a model, for :class:`mmmaskdino.apis.Predictor`; it needs no config."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812
from google.protobuf.message import DecodeError
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from PIL import Image
from torch import Tensor

from mmmaskdino.models.seg_heads.maskdino_fusion_head import MaskDINOFusionHead

from .check import RUNTIMES, Runner, fitted
from .network import STRIDE

RESULTS = dict(instances='boxes', panoptic='panoptic', semantic='semantic')  # kind -> an output of the file
SWITCHES = dict(instances='instance_on', panoptic='panoptic_on', semantic='semantic_on')


class OnnxModel:
    """A file of `mmmaskdino export`, run by ONNX Runtime or OpenVINO, on the CPU in as many threads as torch.

    Args:
        path: The file.
        kinds: Results wanted, some of 'panoptic', 'instances', 'semantic'; None for what the config of the model
            said.
        thresholds: Of :class:`FusionSettings`; None leaves the config's. In a file that gives results they are fixed,
            but for `score_thr`.
        runtime: One of `RUNTIMES`; None for the first that is installed.

    Raises:
        ValueError: The file was not made by `mmmaskdino export`, is damaged, or cannot give what is wanted; or there is
            no such runtime.
    """

    def __init__(
        self,
        path: str | Path,
        kinds: Sequence[str] | None,
        thresholds: Mapping[str, Any],
        runtime: str | None = None,
    ) -> None:
        self.metadata = read_metadata(path)
        self._path, self._run = path, _open(path, runtime)
        outputs = self.metadata['output_names']
        self._is_raw = self.metadata['outputs'] == 'raw'
        classes, num_things = self.metadata['classes'], self.metadata['num_thing_classes']
        with_masks = not self._is_raw or 'mask_logits' in outputs
        if self._is_raw:
            can = dict(instances=num_things > 0, panoptic=0 < num_things < len(classes), semantic=with_masks)
            given = [kind for kind, is_there in can.items() if is_there and (with_masks or kind == 'instances')]
        else:
            given = [kind for kind, name in RESULTS.items() if name in outputs]
        missing = set(kinds or ()) - set(given)
        if missing:
            raise ValueError(f'{path} gives {" and ".join(given)}, no {" and ".join(sorted(missing))}')
        chosen = {key: value for key, value in thresholds.items() if value is not None}
        fixed = sorted(set(chosen) - {'score_thr'}) if not self._is_raw else []
        if fixed:
            raise ValueError(f'{path} was exported with results, which have {", ".join(fixed)} inside already')
        settings = {**self.metadata.get('test_cfg', {}), **chosen, 'with_masks': with_masks}
        wanted = kinds or [kind for kind in given if settings.get(SWITCHES[kind], True)]
        settings.update({switch: kind in wanted for kind, switch in SWITCHES.items()})
        use_sigmoid = self.metadata['scores'] == 'sigmoid'
        self.panoptic_fusion_head = MaskDINOFusionHead(num_things, len(classes) - num_things, use_sigmoid, settings)
        self.panoptic_head = SimpleNamespace(num_things_classes=num_things, with_masks=with_masks)
        palette = self.metadata.get('palette')
        self.dataset_meta = dict(classes=classes, **(dict(palette=palette) if palette else {}))

    def state_dict(self) -> dict[str, Tensor]:
        """What tells it from others: the file."""
        return dict(file=torch.from_numpy(np.fromfile(self._path, np.uint8)))

    def resize(self, results: dict) -> dict:
        """The step of a pipeline that makes an image as large as the file wants it.

        Args:
            results: 'img' (h, w, 3).

        Returns:
            The same with another 'img' and 'img_shape'.
        """
        image, canvas = results['img'], self.metadata['input_size']
        target = canvas[::-1] if canvas else self.metadata['resize']
        size = fitted(image.shape[1::-1], target, is_canvas=canvas is not None)
        results['img'] = np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))  # one to write to
        results['img_shape'] = size[::-1]
        return results

    def test_step(self, data: Mapping[str, Sequence]) -> list[DetDataSample]:
        """Predict for a batch, image by image, as a model of mmdet does.

        Args:
            data: 'inputs', images (3, h, w) uint8, BGR, and 'data_samples' with `img_shape` and `ori_shape`.

        Returns:
            The samples with the results in pixels of `ori_shape`.
        """
        for image, sample in zip(data['inputs'], data['data_samples'], strict=True):
            size = tuple(image.shape[1:])
            images = self._normalised(image)
            canvas = tuple(images.shape[2:])
            sample.set_metainfo(dict(batch_input_shape=canvas, img_shape=size))
            outputs = self._run(images.numpy(), np.array(size, np.int64))
            outputs = {name: torch.from_numpy(np.array(output)) for name, output in outputs.items()}
            (self._add_fused if self._is_raw else self._add_results)(sample, outputs)
        return list(data['data_samples'])

    def _normalised(self, image: Tensor) -> Tensor:
        """(1, 3, H, W): normalised pixels, zero beside the image."""
        pixels = (image.flip(0) if self.metadata['channels'] == 'RGB' else image).float()
        mean, std = (torch.tensor(self.metadata[key]).view(3, 1, 1) for key in ('mean', 'std'))
        height, width = pixels.shape[1:]
        canvas = self.metadata['input_size'] or (height + -height % STRIDE, width + -width % STRIDE)
        return F.pad((pixels - mean) / std, (0, canvas[1] - width, 0, canvas[0] - height))[None]

    def _add_fused(self, sample: DetDataSample, outputs: Mapping[str, Tensor]) -> None:
        """Results of raw outputs, by the package's own post-processing."""
        masks = outputs.get('mask_logits')
        # Masks as products of unit vectors with the maps: exactly the maps.
        embeds = None if masks is None else torch.eye(masks.shape[1])[None]
        (results,) = self.panoptic_fusion_head.predict(
            outputs['class_logits'], outputs['boxes'], embeds, masks, [sample], rescale=True
        )
        names = dict(ins_results='pred_instances', pan_results='pred_panoptic_seg', sem_results='pred_sem_seg')
        for key, value in results.items():
            setattr(sample, names[key], value)

    def _add_results(self, sample: DetDataSample, outputs: Mapping[str, Tensor]) -> None:
        """Results that the file gives, without padding and at the size of the image."""
        (height, width), size = sample.img_shape, sample.ori_shape

        def restored(maps: Tensor) -> Tensor:
            inside = maps[..., :height, :width]
            return F.interpolate(inside[None].float(), size, mode='nearest-exact')[0].to(maps.dtype)

        settings = self.panoptic_fusion_head.settings
        if settings.instance_on:
            kept = outputs['scores'] >= settings.score_thr
            scale = torch.tensor([size[1] / width, size[0] / height] * 2)
            sample.pred_instances = InstanceData(
                scores=outputs['scores'][kept],
                labels=outputs['labels'][kept].long(),
                bboxes=outputs['boxes'][kept] * scale,
            )
            if 'masks' in outputs:
                masks = outputs['masks'][kept]
                sample.pred_instances.masks = restored(masks) if len(masks) else masks.new_zeros(0, *size)
        if settings.panoptic_on:
            sample.pred_panoptic_seg = PixelData(sem_seg=restored(outputs['panoptic'][None]))
        if settings.semantic_on:
            sample.pred_sem_seg = PixelData(sem_seg=restored(outputs['semantic'][None]))


def read_metadata(path: str | Path) -> dict[str, Any]:
    """What an exported file tells of itself, and the names of its outputs.

    Args:
        path: The file.

    Raises:
        ValueError: It is no such file.
    """
    try:
        model = onnx.load(str(path))
    except (OSError, DecodeError) as error:
        raise ValueError(f'{path} cannot be read as an ONNX file ({error})') from error
    stored = {entry.key: entry.value for entry in model.metadata_props}
    if 'classes' not in stored:
        raise ValueError(f'{path} has no class names in its metadata: it was not exported by mmmaskdino')
    metadata = {key: json.loads(value) for key, value in stored.items()}
    return dict(metadata, output_names=[output.name for output in model.graph.output])


def _open(path: str | Path, runtime: str | None) -> Runner:
    """The file in a runtime, or in the first that is installed."""
    if runtime not in (None, *RUNTIMES):
        raise ValueError(f'the runtime of an exported file is {" or ".join(RUNTIMES)}, got {runtime}')
    names = [runtime] if runtime else list(RUNTIMES)
    for name in names:
        try:
            return RUNTIMES[name](path)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    raise ValueError(f'{path} needs {" or ".join(names)}, not installed here: pip install "mmmaskdino[export]"')
