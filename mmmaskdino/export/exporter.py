"""From a trained model to a checked file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.model import BaseModel

from mmmaskdino.structures import Shape

from .check import Agreement, check_file, random_input, read_photo
from .network import STRIDE, ExportedNetwork
from .onnx_file import OPSET, describe, write_onnx

TRACED_SIZE = (256, 320)  # of a file for any size
OTHER_SIZE = (320, 224)  # what a file for any size is also checked with


class Export(NamedTuple):
    """What was exported, and how well it agrees."""

    path: Path
    metadata: dict
    agreements: list[Agreement]


def export_onnx(
    model: BaseModel,
    cfg: Config,
    path: str | Path,
    outputs: str = 'raw',
    size: Shape | None = None,
    opset: int = OPSET,
    runtimes: Sequence[str] = ('onnxruntime',),
    photos: Sequence[str | Path] = (),
    traced_size: Shape = TRACED_SIZE,
) -> Export:
    """Write a model as an ONNX file that was found to compute the same.

    The file has its name only after the check; one that fails it stays beside, as ``NAME.failed.onnx``.

    Args:
        model (BaseModel): On the CPU, with ``dataset_meta``.
        cfg (Config): Its config.
        path (str | Path): The file.
        outputs (str): ``raw`` or ``results``, see :class:`ExportedNetwork`.
        size (Shape | None): Fixed (H, W) of the input, multiples of 32; None: any.
        opset (int): Version of ONNX's operators.
        runtimes (Sequence[str]): What to check with, some of ``RUNTIMES``; none: not checked.
        photos (Sequence[str | Path]): Images to check with, beside generated ones.
        traced_size (Shape): Without a fixed size: what is traced; its tokens are no fewer than the queries.

    Returns:
        Export: The file and how well it agrees.

    Raises:
        CheckError: If the file does not compute what the model computes.
        ValueError: If an argument or the model cannot be exported.
        OSError: If the file cannot be written or a photograph not be read.
    """
    _check_size(size)
    network = ExportedNetwork(model, with_results={'raw': False, 'results': True}[outputs])
    metadata = describe(cfg, network, size)
    failed = Path(path).with_suffix('.failed.onnx')
    canvas = size or traced_size
    inputs = []
    if runtimes:
        inputs = [random_input(network, *sizes) for sizes in _check_sizes(canvas, size is not None)]
        inputs += [read_photo(photo, cfg, network, size, metadata['resize']) for photo in photos]
    example = (torch.zeros(1, 3, *canvas), torch.tensor(canvas))
    write_onnx(network, example, failed, metadata, size is None, opset)
    agreements = [x for runtime in runtimes for x in check_file(network, failed, runtime, inputs)]
    os.replace(failed, path)
    return Export(Path(path), metadata, agreements)


def _check_sizes(canvas: Shape, is_fixed: bool) -> list[tuple[Shape, Shape]]:
    """Canvas and image: without padding, with padding, and another canvas if it may vary."""
    sizes = [(canvas, canvas), (canvas, (canvas[0] - 40, canvas[1] - 17))]
    return sizes if is_fixed else [*sizes, (OTHER_SIZE, (OTHER_SIZE[0] - 9, OTHER_SIZE[1] - 50))]


def _check_size(size: Shape | None) -> None:
    if size is not None and (min(size) < 2 * STRIDE or any(side % STRIDE for side in size)):
        raise ValueError(f'height and width must be multiples of {STRIDE}, at least {2 * STRIDE}; got {tuple(size)}')
