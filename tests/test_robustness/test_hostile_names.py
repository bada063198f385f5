"""File names of a json that point out of the output folder, or to one file."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmmaskdino.datasets.files import DataError
from mmmaskdino.evaluation.panoptic_files import PanopticFiles, PanopticWriter
from mmmaskdino.evaluation.panoptic_quality import PanopticImage

OUTSIDE = ['../../evil.jpg', '/{root}/evil.jpg', 'deep/../../evil.jpg', './evil.jpg', '....//evil.jpg']
IMAGE = PanopticImage(
    id_map=np.full((2, 3), 7, np.int32),
    ids=np.array([7]),
    labels=np.array([0]),
    is_crowd=np.array([False]),
    source='test',
)


@pytest.fixture
def make_writer(tmp_path: Path):
    """Makes a writer for images of the given names, whose ids are 0, 1, ..."""

    def _make_writer(*names: str) -> PanopticWriter:
        images = [dict(id=index, file_name=name.format(root=tmp_path)) for index, name in enumerate(names)]
        (tmp_path / 'ann.json').write_text(json.dumps(dict(images=images)))
        return PanopticWriter(str(tmp_path / 'out' / 'results'), str(tmp_path / 'ann.json'), category_ids=[10])

    return _make_writer


@pytest.mark.parametrize('name', OUTSIDE)
def test_results_stay_in_their_folder(make_writer, tmp_path: Path, name: str) -> None:
    entry = make_writer(name).write(0, IMAGE)
    (written,) = {path for path in tmp_path.rglob('*') if path.is_file()} - {tmp_path / 'ann.json'}
    assert written.name == 'evil.png'
    assert written == tmp_path / 'out' / 'results.panoptic' / entry['file_name']
    assert '..' not in Path(entry['file_name']).parts


def test_a_link_does_not_lead_out(make_writer, tmp_path: Path) -> None:
    writer = make_writer('a/1.jpg')
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'out' / 'results.panoptic' / 'a').symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(ValueError, match='leads out of the folder'):
        writer.write(0, IMAGE)
    assert not list((tmp_path / 'elsewhere').iterdir())


def test_images_of_the_same_name_in_subfolders(make_writer, tmp_path: Path) -> None:
    """Each keeps its own PNG, and the json leads to it."""
    writer = make_writer('a/1.jpg', 'b/1.jpg', '1.jpg', '1.png')
    other = IMAGE._replace(id_map=np.full((2, 3), 9, np.int32), ids=np.array([9]))
    images = [IMAGE, other, IMAGE, other]
    entries = [writer.write(index, image) for index, image in enumerate(images)]
    writer.write_json(entries)
    assert [entry['file_name'] for entry in entries] == ['a/1.png', 'b/1.png', '1.jpg.png', '1.png.png']
    prefix = tmp_path / 'out' / 'results.panoptic'
    files = PanopticFiles(f'{prefix}.json', str(prefix), {10: 0})
    for index, image in enumerate(images):
        assert np.array_equal(files.load(index).id_map, image.id_map)


def test_one_file_for_two_images_is_rejected(make_writer) -> None:
    with pytest.raises(DataError, match=r'ann\.json: the results of a\.jpg and \.\./a\.jpg would be one file'):
        make_writer('a.jpg', '../a.jpg')
