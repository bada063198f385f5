"""The recipes of docs/training.md, each in a short training, and what is resumed and predicted from what it leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmmaskdino.apis import Predictor
from mmmaskdino.engine.averaging import trained_weights

pytestmark = pytest.mark.slow
AVERAGE = {'default_hooks.ema': dict(type='EMAHook', momentum=0.5)}


def load(path: Path) -> dict:
    return torch.load(path, map_location='cpu', weights_only=False)


@pytest.fixture
def documented(project_root: Path) -> dict:
    """What the example of the documentation sets."""
    text = (project_root / 'docs' / 'training.md').read_text()
    (block,) = [block for block in re.findall(r'```python\n(.*?)```', text, re.DOTALL) if 'EMAHook' in block]
    return Config.fromstring(re.sub('_base_ = .*\n', '', block), '.py').to_dict()


def test_the_documented_recipes(train: Callable, tmp_path: Path, evaluated: Callable, documented: dict) -> None:
    """The first evaluation ends the run: any PQ is above -1."""
    stop = {'default_hooks.early_stopping.stopping_threshold': -1}
    hooks = {f'default_hooks.{name}': options for name, options in documented['default_hooks'].items()}
    hooks['default_hooks.checkpoint'] = dict(interval=1, max_keep_ckpts=1, **hooks['default_hooks.checkpoint'])
    assert train('run', evaluated(**hooks, **stop, model=documented['model'])) == 0
    assert sorted(path.name for path in (tmp_path / 'run').glob('*.pth')) == [
        'best_coco_panoptic_PQ_iter_2.pth',
        'iter_2.pth',
    ]
    for name in ('iter_2', 'best_coco_panoptic_PQ_iter_2'):
        saved = load(tmp_path / 'run' / f'{name}.pth')
        raw, averaged = trained_weights(saved), saved['state_dict']
        changed = {'.'.join(key.split('.')[:2]) for key in raw if not torch.equal(raw[key], averaged[key])}
        assert not changed & {'backbone.conv1', 'backbone.bn1', 'backbone.layer1'}, 'these are frozen'
        assert {'backbone.layer2', 'panoptic_head.decoder'} <= changed, 'these are averaged'
    model = Predictor(tmp_path / 'run', device='cpu').model
    assert all(torch.equal(tensor, averaged[key]) for key, tensor in model.state_dict().items())


def test_metrics_stand_at_their_iteration(train: Callable, tmp_path: Path, evaluated: Callable) -> None:
    """In TensorBoard and the like a curve is drawn by this step."""
    # By its name mmengine finds the visualiser of an earlier run of the process again, with that run's folder.
    assert train('run', evaluated(**{'visualizer.name': 'steps'})) == 0
    (log,) = (tmp_path / 'run').glob('*/vis_data/scalars.json')
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    steps = [entry['step'] for entry in entries if 'coco_panoptic/PQ' in entry]
    assert steps and steps == [2 * (i + 1) for i in range(len(steps))]


def test_averages_go_on(train: Callable, tmp_path: Path, evaluated: Callable) -> None:
    """Bit for bit, as the weights do, with an evaluation in between."""
    last = {**AVERAGE, 'train_cfg.max_iters': 4}
    assert train('whole', evaluated(**last)) == 0
    assert train('parts', evaluated(**AVERAGE, **{'train_cfg.max_iters': 2})) == 0
    assert train('parts', evaluated(**last, load_from=str(tmp_path / 'parts' / 'iter_2.pth'), resume=True)) == 0
    whole, parts = (load(tmp_path / name / 'iter_4.pth') for name in ('whole', 'parts'))
    for key in ('state_dict', 'ema_state_dict'):
        assert all(torch.equal(tensor, parts[key][name]) for name, tensor in whole[key].items())


def test_averages_end_where_the_config_has_none(train: Callable, tmp_path: Path, read_losses: Callable) -> None:
    """The run goes on as one that never averaged."""
    assert train('plain', {'train_cfg.max_iters': 4}) == 0
    assert train('averaged', {**AVERAGE, 'train_cfg.max_iters': 2}) == 0
    go_on = dict(load_from=str(tmp_path / 'averaged' / 'iter_2.pth'), resume=True)
    assert train('averaged', {'train_cfg.max_iters': 4} | go_on) == 0
    assert read_losses('averaged') == read_losses('plain')


def test_a_frozen_backbone_in_two_processes(train_ranks: Callable, tmp_path: Path) -> None:
    """No search for unused parameters is needed, and all of the backbone stays as it was in both parts of a run."""
    changes = {
        'model.backbone.frozen_stages': 4,
        'env_cfg.dist_cfg.backend': 'gloo',
        'default_hooks.checkpoint.max_keep_ckpts': 2,
    }
    assert train_ranks('run', 2, {'train_cfg.max_iters': 4} | changes) == [0, 0]
    first, last = (load(tmp_path / 'run' / f'iter_{number}.pth')['state_dict'] for number in (2, 4))
    changed = {name.partition('.')[0] for name in first if not torch.equal(first[name], last[name])}
    assert changed == {'panoptic_head'}
