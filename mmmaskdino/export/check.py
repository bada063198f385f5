"""Does an exported file compute what the model computes?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from mmengine.config import Config
from PIL import Image
from torch import Tensor

from mmmaskdino.structures import QueryInit, Shape

from .comparison import TOLERANCE, compare_raw, compare_results
from .network import INPUTS, STRIDE, ExportedNetwork

# Runs a file: (images, image_size) -> its outputs by name.
Runner = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]
NUM_CANDIDATES = 3  # generated images, of which the one with the clearest query selection is taken
CLEAR_MARGIN = 1e-3  # between class logits: above what rounding makes of them in dozens of layers


class CheckError(Exception):
    """The file does not compute what the model computes."""


class CheckInput(NamedTuple):
    """What the model and the file are both run on."""

    name: str
    images: Tensor
    """(1, 3, H, W)."""
    image_size: Tensor
    """(2,) int64."""

    @property
    def canvas(self) -> Shape:
        """(H, W)."""
        return tuple(self.images.shape[-2:])


class Agreement(NamedTuple):
    """How far the outputs of a runtime lie from PyTorch's for one input."""

    runtime: str
    name: str
    canvas: Shape
    image: Shape
    differences: dict[str, float]
    margin: float
    """Of the query selection, see :func:`selection_margin`."""


def check_file(
    network: ExportedNetwork, path: str | Path, runtime: str, inputs: Sequence[CheckInput]
) -> list[Agreement]:
    """Run a file and the network on the same inputs.

    Args:
        network (ExportedNetwork): The network that was exported.
        path (str | Path): The ONNX file.
        runtime (str): One of ``RUNTIMES``.
        inputs (Sequence[CheckInput]): What to run.

    Returns:
        list[Agreement]: Per input.

    Raises:
        CheckError: If an output differs by more than ``TOLERANCE``, or is missing.
    """
    run = RUNTIMES[runtime](path)
    agreements = [_compare(network, run, runtime, item) for item in inputs]
    for agreement in agreements:
        _judge(agreement, path)
    return agreements


def random_input(network: ExportedNetwork, canvas: Shape, image: Shape) -> CheckInput:
    """A generated image of soft spots and noise whose query selection is no near tie.

    Two scores that are equal but for rounding may be ranked either way; where the last selected token is in such a tie,
    two correct runtimes select different queries.

    Args:
        network (ExportedNetwork): The network that selects.
        canvas (Shape): (H, W) of the input.
        image (Shape): Height and width without the padding.
    """
    candidates = [
        CheckInput('generated', _spots(canvas, image, seed), torch.tensor(image)) for seed in range(NUM_CANDIDATES)
    ]
    return max(candidates, key=lambda item: selection_margin(network, item))


def read_photo(
    path: str | Path, cfg: Config, network: ExportedNetwork, canvas: Shape | None, resize: Sequence[int] | None
) -> CheckInput:
    """A photograph as the network sees it.

    Args:
        path (str | Path): Image file.
        cfg (Config): The model's config.
        network (ExportedNetwork): Its model has the mean and the standard deviation.
        canvas (Shape | None): (H, W) that the image is fitted into; None: as large as the image needs.
        resize (Sequence[int] | None): Without a canvas: longest and shortest side at most; None: not resized.

    Raises:
        OSError: If it cannot be read.
    """
    with Image.open(path) as file:
        photo = file.convert('RGB')
    photo = photo.resize(fitted(photo.size, canvas[::-1] if canvas else resize, is_canvas=canvas is not None))
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)
    if not cfg.model.data_preprocessor.get('bgr_to_rgb'):
        pixels = pixels.flip(0)
    preprocessor = network.model.data_preprocessor
    normalised = (pixels.float() - preprocessor.mean.cpu()) / preprocessor.std.cpu()
    height, width = pixels.shape[1:]
    canvas = canvas or (height + -height % STRIDE, width + -width % STRIDE)
    padded = F.pad(normalised, (0, canvas[1] - width, 0, canvas[0] - height))
    return CheckInput(Path(path).name, padded[None], torch.tensor([height, width]))


def fitted(size: Shape, target: Sequence[int] | None, is_canvas: bool) -> Shape:
    """(width, height) of an image that is resized to a target, its aspect ratio kept.

    Args:
        size (Shape): Its (width, height).
        target (Sequence[int] | None): (width, height) of the canvas to fit into, or the most that the longest and the
            shortest side may have; None: the size stays.
        is_canvas (bool): Which of both.
    """
    if target is None:
        return size
    sides = size if is_canvas else (max(size), min(size))
    scale = min(most / side for most, side in zip(target, sides, strict=True))
    return tuple(max(1, round(side * scale)) for side in size)


def selection_margin(network: ExportedNetwork, item: CheckInput) -> float:
    """By how much the score of the last selected token is above that of the next one; inf: none is left."""
    return _run_network(network, item)[1]


def _run_network(network: ExportedNetwork, item: CheckInput) -> tuple[dict[str, np.ndarray], float]:
    """Outputs by name, and the margin of the query selection."""
    starts: list[QueryInit] = []
    hook = network.head.query_init.register_forward_hook(lambda module, args, start: starts.append(start))
    try:
        outputs = network(item.images, item.image_size)
    finally:
        hook.remove()
    outputs = {name: output.numpy() for name, output in zip(network.output_names, outputs, strict=True)}
    return outputs, _margin(starts[0])


def _margin(start: QueryInit) -> float:
    num_selected = start.content.shape[1]
    if start.scores is None or num_selected == start.scores.shape[1]:
        return float('inf')
    last, following = start.scores[0].topk(num_selected + 1).values[-2:].tolist()
    return last - following


def _compare(network: ExportedNetwork, run: Runner, runtime: str, item: CheckInput) -> Agreement:
    expected, margin = _run_network(network, item)
    found = run(item.images.numpy(), item.image_size.numpy())
    if set(found) != set(expected):
        raise CheckError(f'the file has the outputs {sorted(found)}, expected {sorted(expected)}')
    image = tuple(item.image_size.tolist())
    if network.with_results:
        differences = compare_results(expected, found, item.canvas, image)
    else:
        differences = compare_raw(
            expected, found, network.head.use_sigmoid, steep_masks=network.head.heads.box_prior is not None
        )
    return Agreement(runtime, item.name, item.canvas, image, differences, margin)


def _judge(agreement: Agreement, path: str | Path) -> None:
    # Written so that a difference that is not a number counts.
    wrong = {name: value for name, value in agreement.differences.items() if not value <= TOLERANCE}
    if not wrong:
        return
    values = ', '.join(f'{name} {value:.2g}' for name, value in wrong.items())
    message = (
        f'{agreement.runtime} and PyTorch differ by more than {TOLERANCE:g}: {values}; image {agreement.name} of '
        f'{agreement.image} in {agreement.canvas}. The file is {path}, not to be trusted.'
    )
    if agreement.margin < CLEAR_MARGIN:
        message += (
            f' The class logit of the last selected token is only {agreement.margin:.1g} above that of the next, which '
            'rounding can turn round, and then other queries are compared: check with other images (--check-images) '
            'before you look for another reason.'
        )
    raise CheckError(message)


def _spots(canvas: Shape, image: Shape, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, -(-image[0] // 32) + 1, -(-image[1] // 32) + 1, generator=generator)
    pixels = F.interpolate(coarse, size=image, mode='bicubic') + 0.2 * torch.randn(1, 3, *image, generator=generator)
    return F.pad(pixels, (0, canvas[1] - image[1], 0, canvas[0] - image[0]))


def _onnxruntime(path: str | Path) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    inputs = {value.name for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]

    def run(*values: np.ndarray) -> dict[str, np.ndarray]:
        feed = {name: value for name, value in zip(INPUTS, values, strict=True) if name in inputs}
        return dict(zip(names, session.run(names, feed), strict=True))

    return run


def _openvino(path: str | Path) -> Runner:
    import openvino

    # On some processors OpenVINO computes in half precision by default.
    options = dict(INFERENCE_PRECISION_HINT='f32', INFERENCE_NUM_THREADS=torch.get_num_threads())
    model = openvino.Core().compile_model(str(path), 'CPU', options)
    inputs = {value.get_any_name() for value in model.inputs}
    # OpenVINO knows a tensor by several names, in any order.
    names = [value.name for value in onnx.load(str(path)).graph.output]

    def run(*values: np.ndarray) -> dict[str, np.ndarray]:
        feed = {name: value for name, value in zip(INPUTS, values, strict=True) if name in inputs}
        results = model(feed)
        return {name: results[name] for name in names}

    return run


# Each works in as many threads as torch does.
RUNTIMES: dict[str, Callable[[str | Path], Runner]] = dict(onnxruntime=_onnxruntime, openvino=_openvino)
