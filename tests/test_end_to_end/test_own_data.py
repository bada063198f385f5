"""The commands of docs/own_data.md, as printed, with a small model and few small images."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from mmmaskdino.cli.main import main
from mmmaskdino.datasets.shapes import make_shapes_dataset

# What makes a written config small enough for a test; the data, classes and schedule are the config's own.
SMALL_HEAD = {
    'in_channels': '[8,16,32,64]',
    'dim': 32,
    'mask_dims': 32,
    'num_heads': 4,
    'pixel_decoder.num_layers': 1,
    'pixel_decoder.ffn_dim': 48,
    'query_init.num_queries': 20,
    'decoder.num_layers': 2,
    'decoder.ffn_dim': 48,
    'denoising.num_queries': 10,
    'criterion.num_points': 64,
}
SMALL = [
    'model.backbone.depth=18',
    'model.backbone.base_channels=8',
    'model.backbone.init_cfg=None',
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=2',
    'default_hooks.checkpoint.interval=2',
    'train_dataloader.batch_size=2',
    *(f'{part}_dataloader.num_workers=0' for part in ('train', 'val', 'test')),
    *(f'{part}_dataloader.persistent_workers=False' for part in ('train', 'val', 'test')),
]
SMALL_IMAGES = {
    'semantic': [
        'train_dataloader.dataset.pipeline.2.scales=[(512,128)]',
        'train_dataloader.dataset.pipeline.3.crop_size=(128,128)',
        'model.data_preprocessor.size=(128,128)',
        *(f'{part}_dataloader.dataset.pipeline.1.scale=(128,128)' for part in ('val', 'test')),
    ],
    'other': [
        'train_dataloader.dataset.pipeline.3.scale=(128,128)',
        'train_dataloader.dataset.pipeline.4.crop_size=(128,128)',
        'train_dataloader.dataset.pipeline.5.size=(128,128)',
        *(f'{part}_dataloader.dataset.pipeline.1.scale=(128,128)' for part in ('val', 'test')),
    ],
}


def tutorial(project_root: Path, section: str) -> list[list[str]]:
    """The commands of a section of the document; '' is what comes before the first."""
    text = (project_root / 'docs' / 'own_data.md').read_text()
    parts = dict(re.findall(r'(?ms)^## (.*?)\n(.*?)(?=^## |\Z)', text))
    part = parts[section] if section else text.partition('\n## ')[0]
    blocks = re.findall(r'(?ms)^```bash\n(.*?)^```', part)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def small(kind: str) -> list[str]:
    head = 'decode_head' if kind == 'semantic' else 'panoptic_head'
    options = [*SMALL, *(f'model.{head}.{key}={value}' for key, value in SMALL_HEAD.items())]
    return ['--cfg-options', *options, *SMALL_IMAGES.get(kind, SMALL_IMAGES['other'])]


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['instance', 'panoptic', 'semantic'])
def test_tutorial(
    project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ((python, script, *arguments),) = tutorial(project_root, '')
    assert python == 'python'
    monkeypatch.setattr(sys, 'argv', [script, *arguments, '--train', '4', '--val', '2', '--size', '64'])
    runpy.run_path(str(project_root / script), run_name='__main__')

    commands = tutorial(project_root, dict(instance='Instances').get(kind, kind.capitalize()))
    assert [command[:2] for command in commands] == [
        ['mmmaskdino', name] for name in ('data', 'data', 'train', 'test', 'predict')
    ]
    for _, name, *arguments in commands:
        arguments = [re.sub(r'iter_\d+\.pth', 'iter_2.pth', argument) for argument in arguments]
        assert main([name, *arguments, *(small(kind) if name != 'data' else [])]) == 0, name
    printed = capsys.readouterr().out
    assert '0 problem(s) in 2 part(s)' in printed and f'wrote shapes_{kind}.py' in printed
    assert len(Path(f'shapes_{kind}.py').read_text().splitlines()) <= 25
    assert Path('work_dirs/data_check/shapes.png').is_file()
    (metrics,) = Path(f'work_dirs/shapes_{kind}').glob('*/2*.json')
    names = dict(instance='coco/segm_mAP', panoptic='coco_panoptic/PQ', semantic='mIoU')
    assert names[kind] in json.loads(metrics.read_text().splitlines()[-1])
    assert {path.stem for path in Path(f'results/{kind}/pictures').iterdir()} == {'000000', '000001'}
    results = dict(instance='instances.json', panoptic='panoptic.json', semantic='semantic')
    assert Path(f'results/{kind}', results[kind]).exists()


def test_dividing_and_naming_files(project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ((*_, folder),) = tutorial(project_root, '')
    make_shapes_dataset(folder, 5, 2, size=64, progress=False)
    commands = tutorial(project_root, 'Training and validation images')
    assert [command[:3] for command in commands] == [['mmmaskdino', 'data', name] for name in ('split', 'config')]
    for _, *arguments in commands:
        assert main(arguments) == 0
    parts = Path(folder, 'annotations', 'instances_train_split')
    numbers = [len(json.loads((parts / f'{name}.json').read_text())['images']) for name in ('train', 'val')]
    assert numbers == [4, 1]
    assert "ann_file='annotations/instances_val.json'" in Path('shapes_named.py').read_text()


def test_a_config_is_not_overwritten_by_accident(tmp_path: Path, project_root: Path) -> None:
    out = tmp_path / 'own.py'
    out.write_text('precious')
    with pytest.raises(SystemExit) as stop:
        main(['data', 'config', str(tmp_path), '--out', str(out)])
    assert 'own.py exists' in stop.value.code and out.read_text() == 'precious'


def test_check_finds_problems(tmp_path: Path) -> None:
    content = dict(images=[dict(id=1, file_name='a.jpg', width=9, height=9)], annotations=[], categories=[])
    (tmp_path / 'train.json').write_text(json.dumps(content))
    assert main(['data', 'check', str(tmp_path), '--picture', str(tmp_path / 'a.png')]) == 1
