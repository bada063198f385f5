"""A generated dataset in COCO instance, COCO panoptic and label map format, for a first training within minutes."""

import contextlib
import functools
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mmmaskdino.datasets.panoptic_png import ids_to_rgb
from mmmaskdino.datasets.shapes_scene import STUFF_CLASSES, THING_CLASSES, Scene, draw_scene
from mmmaskdino.progress import Progress

PALETTE = (
    (220, 40, 40),
    (240, 190, 30),
    (50, 190, 60),
    (40, 200, 190),
    (60, 70, 230),
    (210, 60, 210),
    (90, 130, 60),
    (225, 205, 150),
    (110, 160, 200),
    (150, 90, 80),
)
METAINFO = dict(
    classes=THING_CLASSES + STUFF_CLASSES,
    thing_classes=THING_CLASSES,
    stuff_classes=STUFF_CLASSES,
    palette=[*PALETTE],
)

MANIFEST = 'manifest.json'
VERSION = 3  # raise it whenever the same seed gives other files
MIN_SIZE = 32
MANY_IMAGES = 500  # fewer are drawn before more processes have started
UNLABELLED = 255  # in label maps
_SPLITS = ('train', 'val')
# Segment ids are distinct within a split: mmdet looks segments up by id and walks through all that share one.
# Multiples of a constant modulo a prime below 256**3 are distinct, and they look different when the PNG is viewed.
_ID_FACTOR, _ID_MODULUS = 6364137, 16777213


def make_shapes_dataset(
    out: str | os.PathLike,
    num_train: int = 2000,
    num_val: int = 200,
    size: int = 128,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Generate the dataset, or reuse the one that is there.

    Image i of a split depends on the seed, the size and i alone. The folder appears complete or not at all::

        out/{train,val}/000000.jpg
        out/annotations/instances_{train,val}.json      things, visible masks as RLE
        out/annotations/panoptic_{train,val}.json       things and stuff
        out/annotations/panoptic_{train,val}/000000.png
        out/annotations/semantic_{train,val}/000000.png   class indices
        out/manifest.json                               the parameters

    Categories have the ids 1, 2, ... in the order of ``METAINFO['classes']``, things first.

    Args:
        out: Folder to write.
        num_train: Number of training images.
        num_val: Number of validation images.
        size: Side of the square images in pixels, at least 32.
        seed: Seed of every random choice, not negative.
        overwrite: Replace a generated dataset with other parameters instead of rejecting.
        progress: Show a progress bar.

    Returns:
        ``out``.

    Raises:
        ValueError: A parameter is out of range, or ``out`` holds something else: a dataset with other parameters
            (unless ``overwrite``) or files that are not a generated dataset (always).
    """
    out = Path(out)
    manifest = _manifest(num_train, num_val, size, seed)
    if _is_reusable(out, manifest, overwrite):
        return out
    part = out.parent / f'.{out.name}.part-{os.getpid()}'
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        with Progress(total=num_train + num_val, unit='image', disable=not progress) as bar:
            for split, count in zip(_SPLITS, (num_train, num_val), strict=True):
                with contextlib.closing(_scenes(split, count, size, seed)) as scenes:
                    _write_split(part, split, scenes, bar)
        _write_json(part / MANIFEST, manifest)
        _move_into_place(part, out, manifest)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out


def _manifest(num_train: int, num_val: int, size: int, seed: int) -> dict:
    """The checked parameters."""
    lowest = dict(num_train=0, num_val=0, size=MIN_SIZE, seed=0)
    parameters = dict(num_train=num_train, num_val=num_val, size=size, seed=seed)
    for name, value in parameters.items():
        if value < lowest[name]:
            raise ValueError(f'expected {name} >= {lowest[name]}, got {value}')
    return dict(dataset='mmmaskdino shapes', version=VERSION, **parameters)


def _is_reusable(out: Path, manifest: dict, overwrite: bool) -> bool:
    """Whether ``out`` already is the wanted dataset; raises where it must not be touched."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = json.loads((out / MANIFEST).read_text())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or found.get('dataset') != manifest['dataset']:
        raise ValueError(f'{out} exists and is not a generated shapes dataset; choose another folder')
    if found == manifest:
        return True
    if not overwrite:
        different = ', '.join(f'{k} {found.get(k)} instead of {v}' for k, v in manifest.items() if found.get(k) != v)
        raise ValueError(
            f'{out} holds a shapes dataset with {different}; delete it, choose another folder, or '
            'overwrite it (--overwrite of make_shapes.py)'
        )
    return False


def _move_into_place(part: Path, out: Path, manifest: dict) -> None:
    """Rename the finished folder; a process that made the same dataset meanwhile is as good as this one."""
    if out.exists() and any(out.iterdir()):
        if json.loads((out / MANIFEST).read_text()) == manifest:
            return
        old = part.with_name(f'{part.name}-old')
        out.rename(old)
        part.rename(out)
        shutil.rmtree(old)
    else:
        part.rename(out)


def _scenes(split: str, count: int, size: int, seed: int) -> Iterator[Scene]:
    """Draws the scenes of a split in order, many of them in as many processes as there are cores."""
    draw = functools.partial(_draw, seed, _SPLITS.index(split), size)
    if count < MANY_IMAGES or sys.platform != 'linux':  # elsewhere new processes would import everything again
        yield from map(draw, range(count))
        return
    with multiprocessing.get_context('fork').Pool(len(os.sched_getaffinity(0))) as pool:
        yield from pool.imap(draw, range(count), chunksize=16)


def _draw(seed: int, split: int, size: int, index: int) -> Scene:
    return draw_scene(np.random.default_rng((seed, split, index)), size)


def _write_split(root: Path, split: str, scenes: Iterator[Scene], bar: Progress) -> None:
    """Write the images, panoptic maps, label maps and both annotation files of one split."""
    panoptic_dir = root / 'annotations' / f'panoptic_{split}'
    semantic_dir = root / 'annotations' / f'semantic_{split}'
    panoptic_dir.mkdir(parents=True)
    semantic_dir.mkdir()
    (root / split).mkdir()
    images, instances, panoptic = [], [], []
    num_segments = 0
    for index, scene in enumerate(scenes):
        name = f'{index:06d}'
        numbers = num_segments + np.arange(1, len(scene.labels) + 1)
        num_segments += len(scene.labels)
        segment_ids = numbers * _ID_FACTOR % _ID_MODULUS
        ids = np.concatenate([[0], segment_ids])[scene.segment_map]
        _write_image(root / split / f'{name}.jpg', scene.image, [cv2.IMWRITE_JPEG_QUALITY, 95])
        _write_image(panoptic_dir / f'{name}.png', ids_to_rgb(ids))
        labels = np.array([UNLABELLED, *scene.labels], np.uint8)[scene.segment_map]
        _write_image(semantic_dir / f'{name}.png', labels)

        segments = [_segment(scene, number) for number in range(1, len(scene.labels) + 1)]
        images.append(dict(id=index + 1, file_name=f'{name}.jpg', height=len(ids), width=len(ids)))
        panoptic.append(
            dict(
                image_id=index + 1,
                file_name=f'{name}.png',
                segments_info=[dict(id=int(i), **info) for i, (info, _) in zip(segment_ids, segments, strict=True)],
            )
        )
        for info, segmentation in segments:
            if info['category_id'] <= len(THING_CLASSES):
                instances.append(dict(id=len(instances) + 1, image_id=index + 1, segmentation=segmentation, **info))
        bar.update()

    things, everything = _categories()
    for kind, annotations, categories in (('instances', instances, things), ('panoptic', panoptic, everything)):
        content = dict(info=dict(description=f'generated shapes, {split}'), images=images, annotations=annotations)
        _write_json(root / 'annotations' / f'{kind}_{split}.json', dict(**content, categories=categories))


def _segment(scene: Scene, number: int) -> tuple[dict, dict]:
    """The fields that both annotation formats share, and the RLE, of one segment."""
    rle = coco_mask.encode(np.asfortranarray(scene.segment_map == number, dtype=np.uint8))
    info = dict(
        category_id=scene.labels[number - 1] + 1,
        bbox=coco_mask.toBbox(rle).tolist(),
        area=int(coco_mask.area(rle)),
        iscrowd=0,
    )
    return info, dict(size=rle['size'], counts=rle['counts'].decode('ascii'))


def _categories() -> tuple[list[dict], list[dict]]:
    """Categories of the instance file and of the panoptic file."""
    names = METAINFO['classes']
    everything = [
        dict(id=i + 1, name=name, isthing=int(name in THING_CLASSES), color=list(PALETTE[i]))
        for i, name in enumerate(names)
    ]
    return [dict(id=c['id'], name=c['name']) for c in everything if c['isthing']], everything


def _write_image(path: Path, image: np.ndarray, options: list[int] | None = None) -> None:
    """Write an RGB image (h, w, 3) or a label map (h, w), uint8."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(path.suffix, image, options or [])
    path.write_bytes(data)


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content))
