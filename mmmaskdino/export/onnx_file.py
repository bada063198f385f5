"""Writing ONNX files, and what they tell about themselves."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import torch
from mmengine.config import Config
from torch import Tensor

import mmmaskdino
from mmmaskdino.datasets.pipelines import prediction_dataset, step_name
from mmmaskdino.structures import Shape

from .network import INPUTS, STRIDE, ExportedNetwork

OPSET = 17
MIN_OPSET = 16  # the first with GridSample


def write_onnx(
    network: ExportedNetwork,
    example: tuple[Tensor, Tensor],
    path: str | Path,
    metadata: Mapping[str, Any],
    is_dynamic: bool,
    opset: int = OPSET,
) -> None:
    """Trace a network and write it.

    Args:
        network (ExportedNetwork): What to export; on the CPU.
        example (tuple[Tensor, Tensor]): Its inputs, an image that is smaller than its canvas.
        path (str | Path): The file.
        metadata (Mapping[str, Any]): Written into the file as JSON, key by key.
        is_dynamic (bool): Whether height and width of the canvas stay variable.
        opset (int): Version of ONNX's operators, 16 or higher.

    Raises:
        ValueError: If the opset has no GridSample.
    """
    if opset < MIN_OPSET:
        raise ValueError(f'deformable attention needs GridSample, so an opset of at least {MIN_OPSET}; got {opset}')
    options: dict[str, Any] = dict(
        opset_version=opset, input_names=list(INPUTS), output_names=list(network.output_names)
    )
    options['dynamic_axes'] = _dynamic_axes(network) if is_dynamic else _variable_results(network)
    # The exporter of traces: that of programs (dynamo) is not in torch 2.1 and takes ten times as long with variable
    # sizes. Sizes that a trace has frozen by mistake would show in the check, which uses another size.
    if 'dynamo' in inspect.signature(torch.onnx.export).parameters:
        options['dynamo'] = False
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(network, example, str(path), **options)
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def describe(cfg: Config, network: ExportedNetwork, size: Shape | None) -> dict[str, Any]:
    """What somebody needs to use the file without the config.

    Args:
        cfg (Config): The model's config.
        network (ExportedNetwork): The network; its model has ``dataset_meta``.
        size (Shape | None): Fixed (H, W) of the input; None: variable.

    Returns:
        dict[str, Any]: ``classes``, ``num_thing_classes``, ``palette`` (if known), ``mean`` and ``std`` of the channels
        in the order ``channels``, ``input_size`` ([H, W] or null), ``size_divisor``, ``resize`` ([long, short] side at
        most, as in the test pipeline, or null), ``outputs``, ``scores`` (how class logits become probabilities),
        ``box_margin`` (share of their boxes by which masks of things may reach beyond them, or null) and ``test_cfg``
        (all settings of the post-processing).
    """
    preprocessor, meta = network.model.data_preprocessor, network.model.dataset_meta
    described = dict(
        producer=f'mmmaskdino {mmmaskdino.__version__}',
        config=Path(cfg.filename).name,
        classes=list(meta['classes']),
        num_thing_classes=network.head.num_things_classes,
        channels='RGB' if cfg.model.data_preprocessor.get('bgr_to_rgb') else 'BGR',
        mean=preprocessor.mean.flatten().tolist(),
        std=preprocessor.std.flatten().tolist(),
        input_size=None if size is None else list(size),
        size_divisor=STRIDE,
        resize=_resize_scale(cfg),
        outputs='results' if network.with_results else 'raw',
        scores='sigmoid' if network.head.use_sigmoid else 'softmax, the last is no object',
        box_margin=network.fusion.settings.box_margin,
        test_cfg=asdict(network.fusion.settings),
    )
    if meta.get('palette') is not None:
        described['palette'] = [list(map(int, color)) for color in meta['palette']]
    return described


def _resize_scale(cfg: Config) -> list[int] | None:
    """Longest and shortest side of the test pipeline's resize that keeps the aspect ratio."""
    for transform in prediction_dataset(cfg).pipeline:
        if step_name(transform) in ('AntialiasedResize', 'Resize') and transform.get('keep_ratio'):
            return sorted(transform['scale'], reverse=True)
    return None


def _dynamic_axes(network: ExportedNetwork) -> dict[str, dict[int, str]]:
    maps = dict(mask_logits={2: 'mask_height', 3: 'mask_width'}, masks={1: 'height', 2: 'width'})
    maps.update({name: {0: 'height', 1: 'width'} for name in ('panoptic', 'semantic')})
    axes = {'images': {2: 'height', 3: 'width'}, **_variable_results(network)}
    for name in network.output_names:
        axes[name] = {**axes.get(name, {}), **maps.get(name, {})}
    return axes


def _variable_results(network: ExportedNetwork) -> dict[str, dict[int, str]]:
    """Instances below the threshold are left out."""
    if not network.with_results:
        return {}
    return {
        name: {0: 'num_instances'} for name in network.output_names if name in ('scores', 'labels', 'boxes', 'masks')
    }
