"""Shapes whose geometry is known, drawn as annotations of each form, after chains of transforms."""

import itertools

import numpy as np
import pytest
from mmdet.datasets.transforms import Pad, RandomCrop, RandomFlip
from mmengine.dataset import Compose
from PIL import Image
from pycocotools import mask as coco_mask

from mmmaskdino.datasets import AntialiasedResize, DrawTargets, LoadCocoPanopticAnnotations, ids_to_rgb
from mmmaskdino.datasets.annotation_loading import LoadCheckedAnnotations

# Ellipses in images of (height, width) pixels, centre and radii, apart and at no whole pixels. They are wide because
# COCO's rasteriser draws high ones up to 0.07 pixels too high; round and wide ones less than half of that.
SIZES = [(961, 1281), (960, 1280)]
PLACES = itertools.product(np.linspace(190, 1050, 4), np.linspace(150, 790, 3))
ELLIPSES = [((x + 1.37 * i, y + 0.71 * i), (105.3 - 2.1 * i, 52.9 - i)) for i, (x, y) in enumerate(PLACES)]
SCALES = [0.1, 0.25, 0.5, 0.73, 1.0, 2.0]
CHAINS = ['flip resize', 'resize flip', 'crop resize', 'flip resize crop pad', 'flip resize', 'resize resize crop pad']


def load_polygons(size, folder):
    t = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    outlines = [np.stack([x + a * np.cos(t), y + b * np.sin(t)], axis=1).ravel() for (x, y), (a, b) in ELLIPSES]
    return load_instances([[outline.tolist()] for outline in outlines], size)


def load_run_lengths(size, folder):
    return load_instances([coco_mask.encode(np.asfortranarray(bitmap)) for bitmap in bitmaps(size)], size)


def load_instances(masks, size):
    instances = [dict(bbox=[0, 0, 1, 1], bbox_label=i, ignore_flag=0, mask=mask) for i, mask in enumerate(masks)]
    return LoadCheckedAnnotations(with_mask=True)(dict(instances=instances, img_path='a.png', ori_shape=size))


def load_png(size, folder):
    background = 70000
    ids = np.full(size, background, np.int32)
    for number, bitmap in enumerate(bitmaps(size), 1):
        ids[bitmap > 0] = number
    Image.fromarray(ids_to_rgb(ids)).save(folder / 'a.png')
    segments = [dict(id=number, category=number, is_thing=True) for number in range(1, len(ELLIPSES) + 1)]
    return LoadCocoPanopticAnnotations()(
        dict(
            img_path='a.png',
            seg_map_path=str(folder / 'a.png'),
            ori_shape=size,
            instances=[dict(bbox=[0, 0, 1, 1], bbox_label=x['category'], ignore_flag=0) for x in segments],
            segments_info=[*segments, dict(id=background, category=0, is_thing=False)],
        )
    )


def bitmaps(size):
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    return [(((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 < 1).astype(np.uint8) for (cx, cy), (a, b) in ELLIPSES]


def make_chain(names, size, scale):
    height, width = (round(side * scale) for side in size)
    steps = []
    for number, name in enumerate(names.split()):
        if name == 'flip':
            steps.append(RandomFlip(prob=1.0, direction=['horizontal', 'vertical', 'diagonal'][number % 3]))
        elif name == 'resize':
            first = 'resize resize' in names and number == 0
            steps.append(AntialiasedResize(scale=(1707, 1111) if first else (width, height)))
        elif name == 'crop':
            steps.append(RandomCrop((0.96, 0.96), crop_type='relative', allow_negative_crop=True))
        else:
            steps.append(Pad(size=(3000, 2500), pad_val=dict(img=0, masks=0, seg=255)))
    return Compose([*steps, DrawTargets()])


def centroid(mask):
    rows, columns = mask.sum(1, dtype=float), mask.sum(0, dtype=float)
    return (np.arange(len(columns)) + 0.5) @ columns / columns.sum(), (np.arange(len(rows)) + 0.5) @ rows / rows.sum()


@pytest.mark.parametrize('scale', SCALES)
@pytest.mark.parametrize('load', [load_polygons, load_run_lengths, load_png])
def test_centroids_and_boxes_go_where_the_shapes_go(load, scale, tmp_path):
    for names, size in zip(CHAINS, itertools.cycle(SIZES)):
        results = load(size, tmp_path)
        results.update(img=np.zeros((*size, 3), np.uint8), img_shape=size)
        np.random.seed(0)
        moved = make_chain(names, size, scale)(results)
        # What the transforms themselves say that they did to points.
        matrix = moved['homography_matrix'].astype(float)
        masks, boxes = moved['gt_masks'].to_ndarray(), moved['gt_bboxes'].tensor.tolist()
        assert masks.shape == (len(ELLIPSES), *moved['img'].shape[:2])
        errors = []
        for (centre, radii), mask, box in zip(ELLIPSES, masks, boxes, strict=True):
            x, y, _ = matrix @ (*centre, 1)
            a, b = np.abs(np.diag(matrix)[:2]) * radii
            ends = [x - a, y - b, x + a, y + b]
            assert box == pytest.approx(ends, abs=0.1 if load is load_polygons else 1 + scale), names
            errors.append(np.subtract(centroid(mask), (x, y)))
        # Pixels are coarse: single ellipses may be further off than all of them together.
        assert np.abs(np.mean(errors, axis=0)).max() < 0.05, (names, size)
        assert np.abs(errors).max() < 0.3, (names, size)
        if load is load_png and names.startswith('flip resize'):  # things lie where the label map has them
            for mask, label in zip(masks, moved['gt_bboxes_labels'], strict=True):
                np.testing.assert_array_equal(mask.astype(bool), moved['gt_seg_map'] == label)
