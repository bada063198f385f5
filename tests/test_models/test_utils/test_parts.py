from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmmaskdino.models.utils import fusion_of, head_of


@pytest.mark.parametrize(
    ('name', 'head', 'fusion'),
    [
        ('maskdino_r18_shapes_panoptic.py', 'panoptic_head', 'panoptic_fusion_head'),
        ('maskdino_r18_shapes_semantic.py', 'decode_head', 'decode_head.fusion'),
    ],
)
def test_parts_of_both_families(project_root, shrink, name, head, fusion):
    cfg = shrink(Config.fromfile(project_root / 'configs' / 'maskdino' / name))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    assert head_of(model) is model.get_submodule(head)
    assert fusion_of(model) is model.get_submodule(fusion)
    wrapper = SimpleNamespace(**{part: getattr(model, part) for part in (head, fusion.partition('.')[0])})
    assert head_of(wrapper) is head_of(model) and fusion_of(wrapper) is fusion_of(model)
