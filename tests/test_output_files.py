"""Results stay inside their folder, and no two images share a file."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmmaskdino.datasets.files import DataError
from mmmaskdino.output_files import OutputFolder, result_names


def test_nothing_leads_out_of_the_folder(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / 'out')
    (tmp_path / 'elsewhere').mkdir()
    os.symlink(tmp_path / 'elsewhere', tmp_path / 'out' / 'link')
    os.symlink(tmp_path / 'file', tmp_path / 'out' / 'dangling')
    for name in ('../a', '/etc/a', 'a/../../b', 'link/a', 'dangling'):
        with pytest.raises(ValueError, match='leads out of the folder'):
            folder.file(name)
    assert sorted(path.name for path in tmp_path.rglob('*')) == ['dangling', 'elsewhere', 'link', 'out']


def test_subfolders_are_made(tmp_path: Path) -> None:
    OutputFolder(tmp_path / 'new' / 'out').file('a', 'b.png').touch()
    assert (tmp_path / 'new' / 'out' / 'a' / 'b.png').is_file()


@pytest.mark.parametrize(
    ('file_names', 'names'),
    [
        (['a/1.jpg', 'b/1.jpg', '1.jpg'], ['a/1', 'b/1', '1']),
        (['a.jpg', 'a.png', 'c.jpg'], ['a.jpg', 'a.png', 'c']),
        (['B.jpg', 'b.webp'], ['B.jpg', 'b.webp']),
        (['a.jpg', 'a.png', 'a.jpg.png'], ['a.jpg', 'a.png', 'a.jpg.png']),
        (['scene.v2.jpg', 'no_suffix', '.hidden'], ['scene.v2', 'no_suffix', '.hidden']),
        (['../../a.jpg', '/b/c.jpg', 'd/../../e.jpg', './f.jpg', '....//g.jpg'], ['a', 'b/c', 'e', 'f', '..../g']),
        ([], []),
    ],
)
def test_names(file_names: list[str], names: list[str]) -> None:
    assert result_names(file_names, 'test') == names


@pytest.mark.parametrize('pair', [('a/1.jpg', 'a/1.jpg'), ('x/../a.jpg', './a.jpg'), ('/a/1.jpg', 'a/1.jpg')])
def test_one_name_for_two_images_is_rejected(pair: tuple[str, str]) -> None:
    with pytest.raises(DataError, match=rf'ann\.json: the results of {pair[0]} and {pair[1]} would be one file'):
        result_names(['b/1.jpg', *pair], 'ann.json')


@given(st.lists(st.text('aA./', min_size=1, max_size=8), max_size=8, unique=True))
def test_names_are_distinct_and_inside(file_names: list[str]) -> None:
    try:
        names = result_names(file_names, 'test')
    except DataError:
        inside = {os.path.normpath(f'/{name}').lstrip('/') for name in file_names}
        assert len(inside) < len(file_names)
        return
    assert len(set(names)) == len(names) == len(file_names)
    files = [f'{name}.png' for name in names]
    assert not any(file.startswith('/') or '..' in file.split('/') for file in files)
