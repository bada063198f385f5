"""File names of a json that point out of the output folder."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmmaskdino.evaluation.panoptic_files import PanopticWriter
from mmmaskdino.evaluation.panoptic_quality import PanopticImage

NAMES = ['../../evil.jpg', '/{root}/evil.jpg', 'deep/../../evil.jpg', './evil.jpg', '....//evil.jpg']


@pytest.mark.parametrize('name', NAMES)
def test_results_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    name = name.format(root=tmp_path)
    ann_file = tmp_path / 'ann.json'
    ann_file.write_text(json.dumps({'images': [{'id': 1, 'file_name': name}]}))
    writer = PanopticWriter(str(tmp_path / 'out' / 'results'), str(ann_file), category_ids=[10])
    image = PanopticImage(
        id_map=np.full((2, 3), 7, np.int32),
        ids=np.array([7]),
        labels=np.array([0]),
        is_crowd=np.array([False]),
        source='test',
    )
    entry = writer.write(1, image)
    written = {path for path in tmp_path.rglob('*') if path.is_file()} - {ann_file}
    assert written == {tmp_path / 'out' / 'results.panoptic' / 'evil.png'}
    assert entry['file_name'] == 'evil.png'
