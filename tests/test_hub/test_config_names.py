"""Configs are found by path and by name, in any folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmmaskdino.apis.launch import load_config
from mmmaskdino.hub import find_config
from mmmaskdino.hub.table import shipped_configs


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
