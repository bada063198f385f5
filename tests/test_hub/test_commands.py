"""What people type with names of models: from an empty cache to a picture."""

from __future__ import annotations

import io
import json
import re
import socket
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from PIL import Image

from mmmaskdino.apis import Predictor
from mmmaskdino.cli.main import main
from mmmaskdino.converters.official_head import ALIASES
from mmmaskdino.hub import cached_model, find_entry


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A picture in the folder that the commands run in."""
    monkeypatch.chdir(tmp_path)
    coarse = np.random.default_rng(0).integers(255, size=(5, 7, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((96, 64)).save(tmp_path / 'photo.jpg')
    return tmp_path / 'photo.jpg'


def stopped(*argv: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    return str(stop.value.code)


def test_the_list_shows_what_is_here(table, official, capsys: pytest.CaptureFixture) -> None:
    table('pets', official(), results={'mask AP': 12.5}, backbone='ResNet-18', licence='MIT', data='my pets')
    assert main(['models']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.split(r'\s{2,}', lines[0])[-1] == 'on this disk' and len(lines) > 15
    assert re.split(r'\s{2,}', lines[-1]) == [
        'pets', 'instance', 'my pets', 'ResNet-18', 'mask AP 12.5', '1 MB', 'MIT', 'no',
    ]  # fmt: skip
    assert main(['models', 'fetch', 'pets']) == 0
    assert main(['models', 'list', 'resnet-18', 'instance']) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith('yes')
    assert 'no model has all of these' in stopped('models', 'list', 'resnet-18', 'no such')


def test_fetch_path_and_verify(table, official, capsys: pytest.CaptureFixture) -> None:
    entry = table('pets', official())
    assert 'fetch it with: mmmaskdino models fetch pets' in stopped('models', 'path', 'pets')
    assert 'did you mean pets?' in stopped('models', 'fetch', 'pest')
    assert main(['models', 'fetch', 'pets', '--keep']) == 0
    assert main(['models', 'path', 'pets']) == 0
    path = Path(capsys.readouterr().out.splitlines()[-1])
    assert path == cached_model(entry)['path']
    assert main(['models', 'verify', 'pets']) == 0
    assert entry.md5 in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[::-1])
    assert 'wrong md5' in stopped('models', 'verify', 'pets')


def test_configs_are_listed(capsys: pytest.CaptureFixture) -> None:
    assert main(['configs', 'R18', 'shapes', 'semantic']) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[0] == 'maskdino_r18_shapes_semantic'
    assert 'no config has all of these' in stopped('configs', 'no such')


def test_a_name_predicts_everywhere(table, official, photo: Path, capsys: pytest.CaptureFixture) -> None:
    table('pets', official())
    assert main(['predict', 'photo.jpg', '--model', 'pets', '--score-thr', '0']) == 0
    assert (photo.parent / 'results' / 'pictures' / 'photo.jpg').is_file()
    named = Predictor('pets', device='cpu', score_thr=0)(photo).sample.pred_instances
    config = find_entry('pets').config
    pair = Predictor(config, 'pets', device='cpu', score_thr=0)(photo).sample.pred_instances
    inferencer = DetInferencer(weights='maskdino://pets', device='cpu', show_progress=False)
    (other,) = inferencer(str(photo), return_datasamples=True)['predictions']
    assert (
        len(named) and torch.equal(named.scores, pair.scores) and torch.equal(named.masks, other.pred_instances.masks)
    )


def test_wrong_model_options_are_said_at_once(photo: Path) -> None:
    assert 'either --model or --config' in stopped('predict', 'photo.jpg', '--model', 'a', '--config', 'b')
    assert 'did you mean maskdino_r50_coco_panoptic' in stopped('predict', 'photo.jpg', '--model', 'maskdino_r50_coco')
    assert 'did you mean' in stopped('test', 'maskdino_r50_coco_panoptik')


@pytest.mark.parametrize('is_offline', [False, True])
def test_a_prediction_without_network_says_what_else_there_is(
    is_offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_offline:
        monkeypatch.setenv('MMMASKDINO_OFFLINE', '1')

    def no_network(*_: object, **__: object) -> None:
        raise urllib.error.URLError(socket.gaierror(-2, 'Name or service not known'))

    monkeypatch.setattr('mmmaskdino.hub.download._receive', no_network)
    image = tmp_path / 'a.png'
    Image.new('RGB', (40, 30)).save(image)
    message = stopped('predict', str(image), '--out', str(tmp_path / 'out'), '--device', 'cpu')
    assert message.count('pq53.0.pth is not on this disk') == 1
    assert message.endswith(
        'no model was named, so maskdino_r50_coco_panoptic was taken; one of your own: --model work_dirs/NAME'
    )
    named = stopped('predict', str(image), '--out', str(tmp_path / 'out'), '--model', 'maskdino_r50_coco_panoptic')
    assert 'pq53.0.pth is not on this disk' in named and 'no model was named' not in named


def test_a_training_without_network_says_what_else_there_is(
    project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MMMASKDINO_OFFLINE', '1')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    from mmmaskdino.datasets.shapes import make_shapes_dataset

    make_shapes_dataset(tmp_path / 'data' / 'shapes', 2, 2, size=64, progress=False)
    (tmp_path / 'toy.py').write_text(
        f"_base_ = '{project_root}/configs/maskdino/maskdino_r18_shapes_panoptic.py'\n"
        "init_cfg = dict(_delete_=True, type='Pretrained', checkpoint='torchvision://resnet18')\n"
        'model = dict(backbone=dict(init_cfg=init_cfg))\n'
        'train_dataloader = dict(num_workers=0)\nval_dataloader = dict(num_workers=0)\n'
    )
    message = stopped('train', 'toy.py')
    assert 'resnet18-f37072fd.pth is not on this disk' in message and 'sha256 f37072fd' in message
    assert '--load-from' in message and 'model.backbone.init_cfg=None' in message


def test_published_and_measured_numbers_are_compared(
    table, official_of, shared_data: Path, project_root: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    """With other weights than the published ones: the numbers differ, and the exit status says so."""
    monkeypatch.chdir(tmp_path)
    config = tmp_path / 'tiny.py'
    config.write_text(
        f"_base_ = '{project_root}/configs/maskdino/maskdino_r50_coco_panoptic.py'\n"
        'model = dict(\n'
        '    backbone=dict(depth=18, base_channels=8, init_cfg=None),\n'
        '    panoptic_head=dict(\n'
        '        in_channels=[8, 16, 32, 64], dim=32, mask_dims=32,\n'
        '        pixel_decoder=dict(num_layers=1, ffn_dim=32), decoder=dict(num_layers=1, ffn_dim=32),\n'
        '        query_init=dict(num_queries=20),\n'
        '    ),\n'
        '    test_cfg=dict(max_per_image=5),\n'
        ')\n'
        "keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')\n"
        "small = dict(type='AntialiasedResize', scale=(160, 96), keep_ratio=True)\n"
        "steps = [dict(type='LoadImageFromFile'), small, dict(type='PackDetInputs', meta_keys=keys)]\n"
        'test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=steps))\n'
    )
    results = {'PQ': 50.0, 'box AP': 40.0, 'mask AP': 30.0, 'mIoU': 60.0}
    table('tiny', official_of(config, coarsest_first=False), config=str(config), task='panoptic', results=results)
    data = shared_data / 'coco_tiny'
    argv = ['models', 'verify', 'tiny', '--data', str(data)]
    assert main(argv) == 1
    report = capsys.readouterr().out
    for metric, value in results.items():
        assert re.search(rf'{metric} +published +{value} +measured +\d+\.\d\d', report), report
    assert re.search(r'largest difference \d+\.\d\d, allowed 0.2', report)
    assert 'the folder of the data does not exist: nowhere' in stopped(*argv[:-1], 'nowhere')
    monkeypatch.setattr('mmmaskdino.apis.testing.measure_model', lambda entry, data: {**results, 'PQ': 49.9})
    assert main(argv) == 0
    assert main([*argv, '--tolerance', '0.05']) == 1


@pytest.fixture
def released(shared_golden: Path) -> bytes:
    """A file with the names, shapes and second names of the released panoptic model; its values are random, and overlap
    in the file, which is small for that.
    """
    recorded = json.loads((shared_golden / 'keys' / 'coco_panoptic_r50_2048.json').read_text())
    unique, state = {}, {}
    for key, shape in recorded['state_dict'].items():
        main_name = key.removeprefix('sem_seg_head.')
        for pattern, replacement in ALIASES:
            main_name = re.sub(pattern, replacement, main_name)
        if main_name not in unique:
            strides = (7, 5, 3, 1)[4 - len(shape) :]
            size = 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
            values = 0.5 + torch.rand(size) if key.endswith('running_var') else 0.02 * torch.randn(size)
            unique[main_name] = values.as_strided(shape, strides) if shape else torch.tensor(7)
        state[key] = unique[main_name]
    buffer = io.BytesIO()
    torch.save({'model': state, 'iteration': 5}, buffer)
    return buffer.getvalue()


@pytest.mark.slow
def test_from_nothing_to_a_picture(table, released: bytes, photo: Path, server, monkeypatch, capsys) -> None:
    """The released default model, in its size, from a server of this machine; the second time without it."""
    published = find_entry('maskdino_r50_coco_panoptic')
    values = {key: getattr(published, key) for key in ('task', 'config', 'options')}
    table('maskdino_r50_coco_panoptic', released, **values)
    assert main(['predict', 'photo.jpg']) == 0
    picture = photo.parent / 'results' / 'pictures' / 'photo.jpg'
    assert Image.open(picture).size == (96, 64)
    path = cached_model(find_entry('maskdino_r50_coco_panoptic'))['path']
    assert path.stat().st_size > 170e6, 'the official size'
    assert 'photo.jpg: ' in capsys.readouterr().out
    monkeypatch.setenv('MMMASKDINO_OFFLINE', '1')
    server.files.clear()
    assert len(Predictor('maskdino_r50_coco_panoptic').dataset_meta['classes']) == 133
    assert len(server.requests) == 1
