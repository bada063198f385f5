import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData

from mmmaskdino.datasets.shapes import METAINFO, make_shapes_dataset

TOOL = 'analysis_tools/draw_results.py'
SIZE, NUM_IMAGES = 48, 3

CONFIG = """
default_scope = {scope!r}
model = dict(type='FakeModel')
custom_imports = dict(imports=['mmmaskdino'])
test_dataloader = dict(
    dataset=dict(
        type={type!r},
        data_root={root!r},
        {ann_file}
        data_prefix={prefix!r},
        metainfo={metainfo!r},
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(96, 96), keep_ratio=True),
            dict(type={packing!r}, meta_keys=('img_id', 'img_path', 'ori_shape', 'scale_factor')),
        ]))
"""


class FakeModel:
    """Finds nothing, in the form of a detector's or segmentor's results."""

    def __init__(self, kind):
        self.kind = kind

    def test_step(self, data):
        (data_sample,) = data['data_samples']
        assert data['inputs'][0].shape == (3, 96, 96)
        if self.kind == 'semantic':
            data_sample.pred_sem_seg = PixelData(data=torch.full((1, SIZE, SIZE), 10))
            return [data_sample]
        data_sample.pred_instances = InstanceData(
            bboxes=torch.zeros(0, 4),
            labels=torch.zeros(0, dtype=torch.long),
            scores=torch.zeros(0),
            masks=torch.zeros(0, SIZE, SIZE, dtype=torch.bool),
        )
        if self.kind == 'panoptic':
            data_sample.pred_panoptic_seg = PixelData(sem_seg=torch.full((1, SIZE, SIZE), 10, dtype=torch.int32))
        return [data_sample]


@pytest.fixture(params=['panoptic', 'instances', 'semantic'])
def case(request, tmp_path, monkeypatch):
    """A config of each kind, with a model."""
    kind = request.param
    root = make_shapes_dataset(tmp_path / 'data', 1, NUM_IMAGES, size=SIZE, progress=False)
    dataset = dict(panoptic='CheckedCocoPanopticDataset', instances='CheckedCocoDataset', semantic='CheckedSegDataset')
    prefix = dict(
        panoptic=dict(img='val/', seg='annotations/panoptic_val/'),
        instances=dict(img='val/'),
        semantic=dict(img_path='val', seg_map_path='annotations/semantic_val'),
    )
    config = tmp_path / 'config.py'
    config.write_text(
        CONFIG.format(
            scope='mmseg' if kind == 'semantic' else 'mmdet',
            packing='PackSegInputs' if kind == 'semantic' else 'PackDetInputs',
            type=dataset[kind],
            root=f'{root}/',
            ann_file='' if kind == 'semantic' else f"ann_file='annotations/{kind}_val.json',",
            prefix=prefix[kind],
            metainfo=dict(classes=METAINFO['thing_classes']) if kind == 'instances' else METAINFO,
        )
    )
    monkeypatch.setattr('mmmaskdino.apis.inference.model.build_model', lambda *args: FakeModel(kind))
    return config, kind


def test_one_picture_per_image_and_a_sheet(case, run_tool, tmp_path):
    config, kind = case
    out = tmp_path / 'pictures'
    assert run_tool(TOOL, config, 'model.pth', out, '--num', 2, '--scale', 2) == 0
    assert sorted(p.name for p in out.iterdir()) == ['0000_000000.png', '0001_000001.png', 'contact_sheet.png']
    picture, sheet = (cv2.imread(str(out / name)) for name in ('0001_000001.png', 'contact_sheet.png'))
    num_columns = 5 if kind == 'panoptic' else 3
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
