"""Everything of mmdet works where mmseg is not installed."""

import subprocess
import sys

SCRIPT = """
import importlib.util
import sys

find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == 'mmseg' else find_spec(name, package)


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] == 'mmseg':
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)


sys.meta_path.insert(0, Blocker())
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

cfg = Config.fromfile('configs/maskdino/maskdino_r18_shapes_panoptic.py')
with DefaultScope.overwrite_default_scope('mmdet'):
    model = MODELS.build(cfg.model).eval()
prediction, mask_features = model(torch.zeros(1, 3, 64, 64), mode='tensor')
assert prediction.cls_logits.shape == (1, 30, 10)
assert not any(name.partition('.')[0] == 'mmseg' for name in sys.modules)
"""


def test_build_and_predict(project_root):
    result = subprocess.run([sys.executable, '-c', SCRIPT], cwd=project_root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
