import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData

from mmmaskdino.datasets.shapes import METAINFO, make_shapes_dataset

TOOL = 'analysis_tools/draw_results.py'
SIZE, NUM_IMAGES = 48, 3

CONFIG = """
default_scope = 'mmdet'
custom_imports = dict(imports=['mmmaskdino'])
test_dataloader = dict(
    dataset=dict(
        type={type!r},
        data_root={root!r},
        ann_file={ann_file!r},
        data_prefix={prefix!r},
        metainfo={metainfo!r},
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(96, 96), keep_ratio=True),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'scale_factor')),
        ]))
"""


class FakeDetector:
    """Finds nothing, in the form of a detector's results."""

    def __init__(self, panoptic):
        self.panoptic = panoptic

    def test_step(self, data):
        (data_sample,) = data['data_samples']
        assert data['inputs'][0].shape == (3, 96, 96)
        data_sample.pred_instances = InstanceData(
            bboxes=torch.zeros(0, 4),
            labels=torch.zeros(0, dtype=torch.long),
            scores=torch.zeros(0),
            masks=torch.zeros(0, SIZE, SIZE, dtype=torch.bool),
        )
        if self.panoptic:
            data_sample.pred_panoptic_seg = PixelData(sem_seg=torch.full((1, SIZE, SIZE), 10, dtype=torch.int32))
        return [data_sample]


@pytest.fixture(params=['panoptic', 'instances'])
def case(request, tmp_path, monkeypatch):
    """A config and a detector of each kind."""
    root = make_shapes_dataset(tmp_path / 'data', 1, NUM_IMAGES, size=SIZE, progress=False)
    panoptic = request.param == 'panoptic'
    metainfo = METAINFO if panoptic else dict(classes=METAINFO['thing_classes'])
    config = tmp_path / 'config.py'
    config.write_text(
        CONFIG.format(
            type='CheckedCocoPanopticDataset' if panoptic else 'CheckedCocoDataset',
            root=f'{root}/',
            ann_file=f'annotations/{request.param}_val.json',
            prefix=dict(img='val/', seg='annotations/panoptic_val/') if panoptic else dict(img='val/'),
            metainfo=metainfo,
        )
    )
    monkeypatch.setattr('mmdet.apis.init_detector', lambda *args, **kwargs: FakeDetector(panoptic))
    return config, panoptic


def test_one_picture_per_image_and_a_sheet(case, run_tool, tmp_path):
    config, panoptic = case
    out = tmp_path / 'pictures'
    assert run_tool(TOOL, config, 'model.pth', out, '--num', 2, '--scale', 2) == 0
    assert sorted(p.name for p in out.iterdir()) == ['0000_000000.png', '0001_000001.png', 'contact_sheet.png']
    picture, sheet = (cv2.imread(str(out / name)) for name in ('0001_000001.png', 'contact_sheet.png'))
    num_columns = 5 if panoptic else 3
    assert picture.shape[1] == num_columns * 2 * SIZE + (num_columns - 1) * 4
    assert sheet.shape[1] == picture.shape[1]
    assert sheet.shape[0] > 2 * picture.shape[0]
    columns = [picture[-2 * SIZE :, i * (2 * SIZE + 4) :][:, : 2 * SIZE] for i in range(num_columns)]
    np.testing.assert_array_equal(columns[2], columns[0])  # nothing predicted
    assert (columns[1] != columns[0]).any()


def test_no_more_pictures_than_images(case, run_tool, tmp_path):
    assert run_tool(TOOL, case[0], 'model.pth', tmp_path / 'pictures', '--scale', 1) == 0
    assert len(list((tmp_path / 'pictures').iterdir())) == NUM_IMAGES + 1


def test_errors_are_messages(case, run_tool, tmp_path):
    assert '--num' in run_tool(TOOL, case[0], 'model.pth', tmp_path, '--num', 0)
    assert 'nowhere.py' in run_tool(TOOL, 'nowhere.py', 'model.pth', tmp_path)
