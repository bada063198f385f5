"""Evaluation from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mmmaskdino.cli.main import main
from mmmaskdino.datasets.shapes import make_shapes_dataset


def test_pictures_of_two_images_in_one_file_are_rejected(
    project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is predicted: the checkpoint is not even read."""
    monkeypatch.chdir(tmp_path)  # all paths of the config are relative to here
    root = make_shapes_dataset(tmp_path / 'data' / 'shapes', 1, 2, size=64, progress=False)
    for kind in ('panoptic', 'instances'):
        ann_file = root / f'annotations/{kind}_val.json'
        content = json.loads(ann_file.read_text())
        for folder, image in zip(('a', 'b'), content['images'], strict=True):
            target = root / 'val' / folder / 'same.jpg'
            target.parent.mkdir(exist_ok=True)
            shutil.copy(root / 'val' / Path(image['file_name']).name, target)
            image['file_name'] = f'{folder}/same.jpg'
        ann_file.write_text(json.dumps(content))
    checkpoint = tmp_path / 'never_read.pth'
    checkpoint.touch()
    argv = ['test', str(project_root / 'configs/maskdino/maskdino_r18_shapes_panoptic.py'), str(checkpoint)]
    argv += ['--work-dir', str(tmp_path / 'work'), '--show-dir', 'pictures', '--cfg-options']
    argv += ['test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False']
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert '--show-dir would draw' in str(stop.value.code)
    assert 'a/same.jpg and' in stop.value.code and 'b/same.jpg into one file' in stop.value.code
