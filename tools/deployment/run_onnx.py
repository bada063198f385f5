"""Run an exported model on photographs with onnxruntime and numpy, and draw what it finds.

  python run_onnx.py model.onnx photo.jpg --out result.png
  python run_onnx.py model.onnx photos/ --out results

This file needs onnxruntime, numpy and Pillow, nothing else; copy it and change it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidProtobuf, NoSuchFile
from PIL import Image, ImageDraw, ImageOps

ONNX_ERRORS = (Fail, InvalidArgument, InvalidProtobuf, NoSuchFile)
INSTANCE_OFFSET = 1000  # a pixel of a panoptic map is label + instance * INSTANCE_OFFSET


class OnnxModel:
    """An exported Mask DINO.

    Args:
        path (str): The ONNX file.
    """

    def __init__(self, path: str) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=onnxruntime.get_available_providers())
        stored = self.session.get_modelmeta().custom_metadata_map
        if 'classes' not in stored:
            raise ValueError(f'{path} has no class names in its metadata: it was not exported by mmmaskdino')
        self.metadata = {key: json.loads(value) for key, value in stored.items()}
        self._inputs = {value.name for value in self.session.get_inputs()}
        self._names = [value.name for value in self.session.get_outputs()]

    def __call__(self, photo: Image.Image) -> dict[str, np.ndarray]:
        """Predict for a photograph.

        Args:
            photo (Image.Image): RGB.

        Returns:
            dict[str, np.ndarray]: Some of scores (n,), labels (n,), boxes (n, 4) xyxy in pixels of the photograph,
            masks (n, h, w) bool, panoptic (h, w), semantic (h, w), at the size of the photograph.
        """
        images, image_size = self.prepare(photo)
        feed = {name: x for name, x in (('images', images), ('image_size', image_size)) if name in self._inputs}
        outputs = dict(zip(self._names, self.session.run(None, feed), strict=True))
        if self.metadata['outputs'] == 'raw':
            outputs = self.instances(outputs, images.shape[2:])
        return {name: restore(name, x, image_size, photo.size) for name, x in outputs.items()}

    def prepare(self, photo: Image.Image) -> tuple[np.ndarray, np.ndarray]:
        """The inputs: normalised pixels (1, 3, H, W), zero beside the image, and the image's (height, width) there."""
        resized = photo.resize(self.fit(photo.size), Image.Resampling.BILINEAR)
        pixels = np.asarray(resized, np.float32)
        if self.metadata['channels'] == 'BGR':
            pixels = pixels[..., ::-1]
        pixels = (pixels - np.float32(self.metadata['mean'])) / np.float32(self.metadata['std'])
        height, width = pixels.shape[:2]
        divisor = self.metadata['size_divisor']
        canvas = self.metadata['input_size'] or (height + -height % divisor, width + -width % divisor)
        images = np.zeros((1, 3, *canvas), np.float32)
        images[0, :, :height, :width] = pixels.transpose(2, 0, 1)
        return images, np.array([height, width], np.int64)

    def fit(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) that a photograph of this (width, height) is resized to."""
        canvas, resize = self.metadata['input_size'], self.metadata['resize']
        if canvas is not None:
            scale = min(canvas[1] / size[0], canvas[0] / size[1])
        elif resize is not None:
            scale = min(resize[0] / max(size), resize[1] / min(size))
        else:
            scale = 1
        return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))

    def instances(self, raw: dict[str, np.ndarray], canvas: tuple[int, int], num: int = 100) -> dict[str, np.ndarray]:
        """The best instances from raw outputs; the score of a class times the mean probability inside the mask."""
        logits = raw['class_logits'][0]
        if self.metadata['scores'] == 'sigmoid':
            probs = sigmoid(logits)
        else:
            probs = np.exp(logits - logits.max(-1, keepdims=True))
            probs = (probs / probs.sum(-1, keepdims=True))[:, :-1]
        things = probs[:, : self.metadata['num_thing_classes'] or None]
        best = np.argsort(-things, axis=None, kind='stable')[:num]
        queries, labels = np.unravel_index(best, things.shape)
        scores, boxes = things[queries, labels], raw['boxes'][0][queries]
        corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
        results = dict(labels=labels, boxes=corners * np.tile(canvas[::-1], 2))
        if 'mask_logits' in raw:
            maps = [raw['mask_logits'][0, query] for query in queries]
            margin = self.metadata.get('box_margin')
            if margin is not None:
                maps = [cut(logits, box, margin) for logits, box in zip(maps, boxes, strict=True)]
            maps = [enlarge(logits, canvas) for logits in maps]
            results['masks'] = np.stack(maps) > 0
            weight = self.metadata.get('test_cfg', {}).get('mask_box_weight', 0)
            if weight:
                pairs = zip(results['boxes'], results['masks'], strict=True)
                results['boxes'] = np.stack([with_mask(box, mask, weight) for box, mask in pairs])
            scores = scores * [sigmoid(x[x > 0]).mean() if (x > 0).any() else 0 for x in maps]
        order = np.argsort(-scores, kind='stable')
        return {name: x[order] for name, x in dict(results, scores=scores).items()}


def restore(name: str, output: np.ndarray, image_size: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An output without the padding, at the (width, height) of the photograph."""
    height, width = map(int, image_size)
    if name == 'boxes':
        return output * np.tile([size[0] / width, size[1] / height], 2)
    if name == 'masks':
        return np.array([enlarge(mask[:height, :width], size[::-1], nearest=True) for mask in output], bool)
    if name in ('panoptic', 'semantic'):
        return enlarge(output[:height, :width], size[::-1], nearest=True)
    return output


def enlarge(values: np.ndarray, shape: tuple[int, int], nearest: bool = False) -> np.ndarray:
    """A map (h, w) at another (height, width)."""
    image = Image.fromarray(values.astype(np.int32 if nearest else np.float32))
    filtering = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    return np.asarray(image.resize(tuple(shape)[::-1], filtering))


def cut(logits: np.ndarray, box: np.ndarray, margin: float) -> np.ndarray:
    """Mask logits (h, w) that are background outside of a box (cx, cy, w, h in 0 to 1), grown by a share of it.

    As `cut_to_boxes` of the package, which is not needed here, with half a cell besides.
    """
    inside = [
        np.abs((np.arange(cells) + 0.5) / cells - center) <= size * (0.5 + margin) + 0.5 / cells
        for cells, center, size in zip(logits.shape, box[[1, 0]], box[[3, 2]], strict=True)
    ]
    return np.where(inside[0][:, None] & inside[1], logits, -10)


def with_mask(box: np.ndarray, mask: np.ndarray, weight: float) -> np.ndarray:
    """Weighted mean of a box xyxy and the one around its mask (h, w), as `join_with_masks` of the package."""
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    if not len(rows):
        return box
    around = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return box + weight * (around - box)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Probability of a logit, without overflow."""
    return np.exp(-np.logaddexp(0, -x))


def draw(photo: Image.Image, results: dict[str, np.ndarray], metadata: dict[str, Any], score_thr: float) -> Image.Image:
    """Draw the panoptic map, or else the instances, or else the semantic map."""
    palette = np.array(metadata.get('palette') or np.random.default_rng(0).integers(256, size=(1000, 3)), np.uint8)
    pixels = np.array(photo)
    for name in ('panoptic', 'semantic'):
        if name in results and ('scores' not in results or name == 'panoptic'):
            labels = results[name] % INSTANCE_OFFSET
            known = labels < len(metadata['classes'])
            pixels[known] = pixels[known] // 2 + palette[labels[known]] // 2
            return Image.fromarray(pixels)
    chosen = np.flatnonzero(results['scores'] >= score_thr)
    for i in chosen:
        if 'masks' in results:
            mask = results['masks'][i]
            pixels[mask] = pixels[mask] // 2 + palette[results['labels'][i]] // 2
    picture = Image.fromarray(pixels)
    canvas = ImageDraw.Draw(picture)
    for i in chosen:
        color = tuple(map(int, palette[results['labels'][i]]))
        x1, y1, x2, y2 = map(float, results['boxes'][i])
        canvas.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), outline=color, width=2)
        canvas.text((x1 + 3, y1 + 3), f'{metadata["classes"][results["labels"][i]]} {results["scores"][i]:.2f}')
    return picture


def describe(results: dict[str, np.ndarray], metadata: dict[str, Any], score_thr: float) -> list[str]:
    """What was found, a line each."""
    classes, lines = metadata['classes'], []
    for label, score, box in zip(*(results.get(key, ()) for key in ('labels', 'scores', 'boxes')), strict=True):
        if score >= score_thr:
            lines.append(f'{classes[label]} {score:.3f} at {", ".join(f"{x:.0f}" for x in box)}')
    for name in ('panoptic', 'semantic'):
        if name in results:
            ids, counts = np.unique(results[name], return_counts=True)
            for i in np.argsort(-counts):
                label, instance = ids[i] % INSTANCE_OFFSET, ids[i] // INSTANCE_OFFSET
                thing = '' if label >= len(classes) or not instance else f' {instance}'
                what = classes[label] if label < len(classes) else 'nothing'
                lines.append(f'{name}: {what}{thing}, {counts[i] / results[name].size:.1%}')
    return lines


def find_photos(paths: list[str]) -> list[Path]:
    """The given files, and the images of the given folders."""
    known, photos = Image.registered_extensions(), []
    for path in map(Path, paths):
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        photos += [file for file in inside if not path.is_dir() or file.suffix.lower() in known]
    return photos


def run(model: OnnxModel, path: Path, out: Path | None, score_thr: float) -> None:
    """Print what is in one photograph, and draw it."""
    with Image.open(path) as file:
        photo = ImageOps.exif_transpose(file).convert('RGB')
    results = model(photo)
    print('\n'.join(describe(results, model.metadata, score_thr)))
    if out:
        draw(photo, results, model.metadata, score_thr).save(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', help='ONNX file')
    parser.add_argument('photos', nargs='+', help='image files or folders of images')
    parser.add_argument('--out', type=Path, help='picture to write; for several photographs a folder')
    parser.add_argument('--score-thr', type=float, default=0.3, help='lowest score of an object (default: %(default)s)')
    args = parser.parse_args()
    try:
        model, photos = OnnxModel(args.model), find_photos(args.photos)
    except (ValueError, OSError, *ONNX_ERRORS) as error:
        sys.exit(f'run_onnx.py: {error}')
    several = len(photos) != 1 or any(Path(path).is_dir() for path in args.photos)
    if several and args.out:
        args.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path in photos:
        if several:
            print(f'{path}:')
        try:
            run(model, path, args.out / f'{path.stem}.png' if several and args.out else args.out, args.score_thr)
        except (ValueError, OSError, *ONNX_ERRORS) as error:
            print(f'run_onnx.py: {path}: {error}', file=sys.stderr)
            failed += 1
    if failed or not photos:
        sys.exit(f'run_onnx.py: {failed} of {len(photos)} images without results')


if __name__ == '__main__':
    main()
