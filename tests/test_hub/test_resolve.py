"""What stands for a model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mmengine.config import Config

from mmmaskdino.apis.launch import load_config, open_model
from mmmaskdino.hub import find_config, find_weights, resolve_model
from mmmaskdino.hub.table import shipped_configs


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    """A work directory as a run leaves it."""
    folder = tmp_path / 'work_dirs' / 'pets'
    folder.mkdir(parents=True)
    for name in ('pets.py', 'iter_900.pth', 'iter_1000.pth'):
        (folder / name).touch()
    return folder


def test_a_config_object_needs_weights() -> None:
    with pytest.raises(ValueError, match='a config alone has no weights'):
        open_model(Config(dict(model=dict())))


def test_a_name_is_a_config_weights_and_options() -> None:
    files = resolve_model('maskdino_r50_coco_panoptic')
    assert files.config == shipped_configs()['maskdino_r50_coco_panoptic']
    assert files.weights == 'maskdino://maskdino_r50_coco_panoptic'
    assert files.options == {'model.panoptic_head.mask_padding': False}
    assert resolve_model('maskdino://maskdino_r50_coco_panoptic') == files
    assert resolve_model('maskdino_r50_coco_panoptic', 'maskdino_r50_coco_panoptic') == files


def test_options_of_the_table_belong_to_its_config() -> None:
    files = resolve_model('maskdino_r50_coco_panoptic_12e', 'maskdino_r50_coco_panoptic')
    assert files.config.stem == 'maskdino_r50_coco_panoptic_12e' and files.options == {}


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        ('maskdino_r50_coco_panoptik', 'no model has the name .* did you mean maskdino_r50_coco_panoptic'),
        ('r50_panoptic', 'no model has the name r50_panoptic .* did you mean maskdino_r50_coco_panoptic.$'),
        ('0.5', 'no model has the name 0.5 .`mmmaskdino models` lists all.$'),
        ('work_dirs/nothing', '^work_dirs/nothing: no such file or folder$'),
        ('maskdino_r50_lvis_instance', 'is a config, and there are no weights of its name'),
        ('dino_r50_coco_12e', 'no whole model .detection pre-training.: .* load_from=maskdino://dino_r50_coco_12e'),
        ('resnet50_imagenet', 'init_cfg.checkpoint=maskdino://resnet50_imagenet'),
        ('no_such_dir/pets', '^no_such_dir/pets: no such file or folder$'),
        ('maskdino://no/pets', 'no model has the name no/pets'),
        ('no.pth', 'checkpoint no.pth does not exist; checkpoints in its folder: '),
        (None, 'expected the name of a model'),
    ],
)
def test_what_is_no_model_is_said(model: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_model(model)


def test_work_directory_is_its_last_checkpoint_and_its_config(work_dir: Path) -> None:
    files = resolve_model(work_dir)
    assert (files.config, files.weights) == (work_dir / 'pets.py', str(work_dir / 'iter_1000.pth'))
    assert 'iter_1000.pth' in files.remark
    other = shipped_configs()['maskdino_r18_shapes_panoptic']
    assert resolve_model(other.stem, work_dir)[:2] == (other, str(work_dir / 'iter_1000.pth'))
    assert find_config(work_dir) == work_dir / 'pets.py'


def test_or_its_best_one(work_dir: Path) -> None:
    for number, name in enumerate(('best_PQ_iter_900.pth', 'best_PQ_iter_800.pth')):
        (work_dir / name).touch()
        os.utime(work_dir / name, (number, number))
    assert Path(resolve_model(work_dir).weights).name == 'best_PQ_iter_800.pth', 'the newest'


def test_folders_that_leave_a_choice(work_dir: Path) -> None:
    with pytest.raises(ValueError, match=f'has no checkpoint .*; folders with checkpoints in it: {work_dir}'):
        resolve_model(work_dir.parent)
    (work_dir / 'cats.py').touch()
    assert resolve_model(work_dir).config == work_dir / 'pets.py', 'named like the folder'
    (work_dir / 'pets.py').rename(work_dir / 'dogs.py')
    with pytest.raises(ValueError, match=r'several configs \(cats.py, dogs.py\)'):
        resolve_model(work_dir)


def test_checkpoints_and_addresses_hold_their_config(work_dir: Path) -> None:
    checkpoint = work_dir / 'iter_900.pth'
    assert resolve_model(checkpoint) == resolve_model(None, checkpoint) == (None, str(checkpoint), {}, '')
    assert resolve_model('https://example.com/a.pth')[:2] == (None, 'https://example.com/a.pth')
    with pytest.raises(ValueError, match='does not exist; checkpoints in its folder: .*iter_1000.pth, .*iter_900.pth'):
        find_weights(work_dir / 'iter_1100.pth')
    with pytest.raises(ValueError, match='is a config, and there are no weights'):
        resolve_model(work_dir / 'pets.py')


def test_configs_by_name(tmp_path: Path) -> None:
    path = shipped_configs()['maskdino_r18_shapes_panoptic']
    assert find_config('maskdino_r18_shapes_panoptic') == find_config(path.name) == find_config(path) == path
    with pytest.raises(ValueError, match='config file maskdino_r18_shape_panoptic does not exist; did you mean maskd'):
        find_config('maskdino_r18_shape_panoptic')
    (tmp_path / 'pets.py').touch()
    with pytest.raises(ValueError, match='pet.py does not exist; did you mean pets.py'):
        find_config(tmp_path / 'pet.py')


@pytest.mark.parametrize('name', ['maskdino_r50_coco_panoptic', 'maskdino_r50_coco_panoptic.py'])
def test_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = load_config(name)
    assert Path(cfg.filename).name == 'maskdino_r50_coco_panoptic.py'
    assert cfg.work_dir == str(Path('work_dirs/maskdino_r50_coco_panoptic'))


def test_names_in_folders_of_the_zoo(project_root: Path) -> None:
    found = find_config('maskdino_r50_coco_instance_12e_box-prior')
    assert found.samefile(project_root / 'configs/maskdino/options/maskdino_r50_coco_instance_12e_box-prior.py')
    files = [path for path in (project_root / 'configs' / 'maskdino').rglob('*.py') if '__pycache__' not in path.parts]
    assert len(shipped_configs()) == len(files), 'two configs have one name'


def test_a_file_of_the_current_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = Path('maskdino_r50_coco_panoptic.py')
    mine.write_text('model = dict()\n')
    assert find_config(mine) == mine


@pytest.mark.parametrize('name', ['nowhere/maskdino_r50_coco_panoptic.py', '../maskdino_r50_coco_panoptic'])
def test_a_path_is_no_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match='does not exist; did you mean maskdino_r50_coco_panoptic'):
        find_config(name)


def test_the_nearest_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r'did you mean maskdino_r50_cityscapes_semantic'):
        find_config('maskdino_r50_cityscape_semantic')
    with pytest.raises(ValueError, match=r'config file x does not exist$'):
        find_config('x')
