"""tools/analysis_tools/worst_results.py: worst first."""

import csv

import cv2
import pytest
import torch
from mmengine.structures import InstanceData

from mmmaskdino.datasets.shapes import METAINFO, make_shapes_dataset
from mmmaskdino.visualization import predicted_dataset

TOOL = 'analysis_tools/worst_results.py'
SIZE = 48
CONFIG = """
default_scope = 'mmdet'
model = dict(type='FakeModel')
test_dataloader = dict(
    dataset=dict(
        type='CheckedCocoDataset', data_root={root!r}, ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'), metainfo=dict(classes={classes!r}), test_mode=True,
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackDetInputs')]))
"""


class FakeModel:
    """Finds all annotated objects; none in the image 1, all but one in the image 2."""

    def __init__(self):
        self.annotated = None

    def test_step(self, data):
        (sample,) = data['data_samples']
        labels = self.annotated.labels
        keep = slice({1: 0, 2: len(labels) - 1}.get(int(sample.img_path[-5]), len(labels)))
        sample.pred_instances = InstanceData(
            bboxes=self.annotated.bboxes.tensor[keep],
            labels=labels[keep],
            masks=torch.from_numpy(self.annotated.masks.to_ndarray()[keep]).bool(),
            scores=torch.full((len(labels[keep]),), 0.9),
        )
        return [sample]


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A config of four generated images, and a model that is told what is annotated."""
    root = make_shapes_dataset(tmp_path / 'data', 1, 4, size=SIZE, progress=False)
    path = tmp_path / 'config.py'
    path.write_text(CONFIG.format(root=f'{root}/', classes=METAINFO['thing_classes']))
    model, load = FakeModel(), predicted_dataset.load_ground_truth

    def load_and_tell(dataset, index):
        image, sample = load(dataset, index)
        model.annotated = sample.gt_instances
        return image, sample

    monkeypatch.setattr('mmmaskdino.apis.inference.model.build_model', lambda *args: model)
    monkeypatch.setattr(predicted_dataset, 'load_ground_truth', load_and_tell)
    return path


def test_worst_first(config, run_tool, tmp_path):
    out = tmp_path / 'out'
    assert run_tool(TOOL, config, 'model.pth', out, '--num', 2) == 0
    with open(out / 'quality.csv', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    qualities = [float(row['quality']) for row in rows]
    assert [int(row['index']) for row in rows[:2]] == [1, 2] and len(rows) == 4
    assert qualities[0] == 0 < qualities[1] < qualities[2] == qualities[3] == 1
    assert {path.name for path in out.glob('*.png')} == {'001_000001.png', '002_000002.png', 'contact_sheet.png'}
    assert cv2.imread(str(out / '001_000001.png')).std() > 0


def test_first_images_only(config, run_tool, tmp_path):
    assert run_tool(TOOL, config, 'model.pth', tmp_path / 'out', '--max-images', 1) == 0
    assert len((tmp_path / 'out' / 'quality.csv').read_text().splitlines()) == 2


def test_errors_are_messages(config, run_tool, tmp_path):
    assert '--num' in run_tool(TOOL, config, 'model.pth', tmp_path, '--num', 0)
    assert 'nowhere.py' in run_tool(TOOL, 'nowhere.py', 'model.pth', tmp_path)
