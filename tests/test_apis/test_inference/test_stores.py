"""Images in archives and buckets."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import fsspec
import pytest

from mmmaskdino.apis import Predictor, predict_files
from mmmaskdino.apis.inference.sources import IMAGE_SUFFIXES, find_images, is_many
from mmmaskdino.apis.inference.stores import StoredImage, expand_braces, list_archive, read_stored
from mmmaskdino.datasets.files import DataError

NAMES = ('a.png', 'deep/b.png')
MEGA = 1_000_000


@pytest.fixture
def archives(make_image, tmp_path: Path) -> dict[str, Path]:
    """The same images and a text in each kind of archive."""
    for name in NAMES:
        make_image(f'in/{name}')
    (tmp_path / 'in' / 'a.json').write_text('{}')
    paths = dict(zip=tmp_path / 'photos.zip', tar=tmp_path / 'photos.tar')
    with zipfile.ZipFile(paths['zip'], 'w') as archive:
        archive.mkdir('deep')
        for name in (*NAMES, 'a.json'):
            archive.write(tmp_path / 'in' / name, name)
    with tarfile.open(paths['tar'], 'w') as archive:
        for name in (*NAMES, 'a.json'):
            archive.add(tmp_path / 'in' / name, name)
    return paths


@pytest.fixture
def bucket(archives: dict[str, Path], tmp_path: Path) -> str:
    """Of fsspec's own memory."""
    system = fsspec.filesystem('memory')
    for name in (*NAMES, 'a.json'):
        system.pipe(f'/bucket/photos/{name}', (tmp_path / 'in' / name).read_bytes())
    system.pipe('/bucket/shard.tar', archives['tar'].read_bytes())
    yield 'memory://bucket'
    system.rm('/bucket', recursive=True)


def test_leftovers_are_left_out_as_in_folders(bucket: str, tmp_path: Path) -> None:
    names = ('__MACOSX/._a.jpg', '._a.png', 'deep/.hidden/c.jpg', '@eaDir/a.png', '.DS_Store', 'Thumbs.db', './a.png')
    with zipfile.ZipFile(tmp_path / 'mac.zip', 'w') as archive, tarfile.open(tmp_path / 'mac.tar', 'w') as tar:
        for name in names:
            archive.write(tmp_path / 'in' / 'a.png', name)
            tar.add(tmp_path / 'in' / 'a.png', name)
    for name in names[:-1]:
        fsspec.filesystem('memory').pipe(f'/bucket/photos/{name}', b'x')
    for source in (tmp_path / 'mac.zip', tmp_path / 'mac.tar'):
        found = find_images(source)
        assert ([file.name for file in found.files], found.others) == (['a'], [])
    found = find_images(f'{bucket}/photos')
    assert ([file.file_name for file in found.files], found.others) == (list(NAMES), ['a.json'])
    named = find_images(f'{bucket}/photos/._a.png').files  # by its own address it is wanted
    assert [file.file_name for file in named] == ['._a.png']


@pytest.mark.parametrize('kind', ['zip', 'tar'])
def test_an_archive_gives_what_its_files_give(archives: dict[str, Path], tmp_path: Path, kind: str) -> None:
    found = find_images(archives[kind])
    assert [(file.file_name, file.name) for file in found.files] == [('a.png', 'a'), ('deep/b.png', 'deep/b')]
    assert found.others == ['a.json'] and found.root is None and is_many(archives[kind])
    for file in found.files:
        assert read_stored(file.path, MEGA) == (tmp_path / 'in' / file.file_name).read_bytes()
        assert str(file.path) == f'{archives[kind]}/{file.file_name}'


def test_shards(archives: dict[str, Path], tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f'shard-00{number}.tar').write_bytes(archives['tar'].read_bytes())
    names = ['shard-000/a.png', 'shard-000/deep/b.png', 'shard-001/a.png', 'shard-001/deep/b.png']
    for source in ('shard-{000..001}.tar', 'shard-*.tar'):
        assert [file.file_name for file in find_images(str(tmp_path / source)).files] == names
    assert expand_braces('a{08..10}b{1..2}') == ['a08b1', 'a08b2', 'a09b1', 'a09b2', 'a10b1', 'a10b2']
    with pytest.raises(DataError, match=r'shard-002.tar: no such file or folder'):
        find_images(str(tmp_path / 'shard-{000..002}.tar'))


def test_a_bucket(bucket: str, tmp_path: Path) -> None:
    found = find_images(f'{bucket}/photos')
    assert [file.file_name for file in found.files] == list(NAMES) and found.others == ['a.json']
    for file in [*found.files, *find_images(f'{bucket}/shard.tar').files, *find_images(f'{bucket}/photos/a.png').files]:
        assert read_stored(file.path, MEGA) == (tmp_path / 'in' / file.file_name).read_bytes()
    with pytest.raises(DataError, match='memory://bucket/nothing: no image in it'):
        find_images(f'{bucket}/nothing')
    with pytest.raises(DataError, match='nowhere://bucket: cannot be reached .*nowhere'):
        find_images('nowhere://bucket')


def test_bad_archives(archives: dict[str, Path], tmp_path: Path) -> None:
    for name in ('text.zip', 'text.tar'):
        (tmp_path / name).write_text('no archive')
        with pytest.raises(DataError, match=f'{name}: cannot be read as an archive'):
            find_images(tmp_path / name)
    (tmp_path / 'photos.tar.gz').touch()
    with pytest.raises(DataError, match='of a compressed tar no single image can be read'):
        find_images(tmp_path / 'photos.tar.gz')
    for kind, path in archives.items():
        image = list_archive(path, IMAGE_SUFFIXES, [])[0]
        with pytest.raises(DataError, match='has more than 9 bytes'):
            read_stored(image, 9)
        path.write_bytes(path.read_bytes()[: 600 if kind == 'tar' else 60])
        with pytest.raises(DataError, match=r'photos.\w+/a.png: (the archive ends|cannot be read from the archive)'):
            read_stored(image, MEGA)
    with pytest.raises(DataError, match='gone.zip/a.png: cannot be read from the archive'):
        read_stored(StoredImage(str(tmp_path / 'gone.zip'), 'a.png'), MEGA)


def test_predicted_as_files_are(archives: dict[str, Path], bucket: str, model_files, tmp_path: Path) -> None:
    predictor = Predictor(*model_files('panoptic'), device='cpu', score_thr=0.0, max_per_image=3)
    wanted = tmp_path / 'wanted'
    predict_files(predictor, tmp_path / 'in', wanted, save=['panoptic'])
    for source in (*archives.values(), f'{bucket}/photos', f'{bucket}/shard.tar'):
        out = tmp_path / f'out{len(list(tmp_path.iterdir()))}'
        assert predict_files(predictor, source, out, save=['panoptic']).num_done == 2
        for name in ('a', 'deep/b'):
            assert (out / 'panoptic' / f'{name}.png').read_bytes() == (wanted / 'panoptic' / f'{name}.png').read_bytes()
        assert predict_files(predictor, source, out, save=['panoptic']).num_before == 2
    assert str(predictor(StoredImage(str(archives['zip']), 'a.png'))).startswith('<Prediction ')
