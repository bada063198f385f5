"""The examples of docs/extending.md do what they say."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData

from mmmaskdino.apis import load_config

DOCUMENT = Path(__file__).resolve().parents[2] / 'docs' / 'extending.md'


def code(section: str) -> list[str]:
    """The Python blocks of a section."""
    text = DOCUMENT.read_text().split(f'\n## {section}\n')[1].split('\n## ')[0]
    return re.findall(r'(?s)```python\n(.*?)```', text)


def num_lines(source: str) -> int:
    return sum(bool(line.strip()) for line in source.splitlines())


@pytest.fixture
def head(shrink: Callable[[Config], Config], project_root: Path) -> Config:
    """Config of the small head of the instance model."""
    return shrink(Config.fromfile(project_root / 'configs/maskdino/maskdino_r50_coco_instance.py')).model.panoptic_head


def batch(head: Config) -> tuple[list[torch.Tensor], list[DetDataSample]]:
    """Backbone maps of two images with three objects and one."""
    features = [torch.randn(2, c, 64 // s, 96 // s) for c, s in zip(head.in_channels, (4, 8, 16, 32), strict=True)]
    samples = []
    for num in (3, 1):
        sample = DetDataSample(metainfo=dict(img_shape=(64, 96), batch_input_shape=(64, 96)))
        boxes = torch.tensor([[8.0, 8.0, 40.0, 40.0]]).repeat(num, 1)
        masks = torch.rand(num, 64, 96) > 0.5
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.arange(num), masks=masks)
        samples.append(sample)
    return features, samples


def test_a_matching_cost(head, mmdet_scope, tmp_path, monkeypatch):
    source, config = code('A matching cost')
    assert num_lines(source) <= 25 and num_lines(config) <= 4
    (tmp_path / 'my_parts.py').write_text(source)
    (tmp_path / 'joint.py').write_text(config)
    monkeypatch.syspath_prepend(tmp_path)
    costs = load_config(tmp_path / 'joint.py').model.panoptic_head.criterion.assigner.match_costs
    assert costs[:-1] == load_config('maskdino_r18_shapes_instance').model.panoptic_head.criterion.assigner.match_costs
    head.criterion.assigner.match_costs = costs
    model = MODELS.build(head)
    cost, seen = model.criterion.assigner.match_costs[-1], []
    assert cost.weight == 2.0

    class Spy:
        def __call__(self, *args, **kwargs):
            seen.append(cost(*args, **kwargs))
            return seen[-1]

    model.criterion.assigner.match_costs[-1] = Spy()
    losses = model.loss(*batch(head))
    assert all(value.isfinite() for value in losses.values())
    assert len(seen) == 2 and all(((values >= -2) & (values <= 0)).all() for values in seen)
    TASK_UTILS.module_dict.pop('JointCost')
    sys.modules.pop('my_parts')


def test_a_mask_loss(head, mmdet_scope):
    source, line = code('A mask loss')
    assert num_lines(source) <= 25 and num_lines(line) == 1
    exec(source, {})
    changed: dict = {}
    exec(line, changed)
    cfg = Config(dict(model=dict(panoptic_head=head)))
    cfg.merge_from_dict(dict(model=ConfigDict(changed['model'])))
    model = MODELS.build(cfg.model.panoptic_head)
    losses = model.loss(*batch(head))
    plain = losses['loss_mask'].detach()
    sum(losses.values()).backward()
    factor = model.criterion.loss_mask.log_factor
    assert plain.isfinite() and factor.grad.isfinite() and factor.grad != 0
    MODELS.module_dict.pop('TemperedBCELoss')
