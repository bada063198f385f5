"""One annotation file becomes two."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config

from mmmaskdino.apis.data import SplitSummary, check_split, divide_annotations, find_splits, name_parts
from mmmaskdino.cli.main import main
from mmmaskdino.datasets.files import DataError


@pytest.fixture
def single(shapes: Path, tmp_path: Path) -> Path:
    """The shapes with the training images' annotations alone, in files with telling and other names."""
    root = tmp_path / 'single'
    shutil.copytree(shapes / 'train', root / 'images')
    shutil.copytree(shapes / 'annotations' / 'panoptic_train', root / 'masks')
    shutil.copy(shapes / 'annotations' / 'instances_train.json', root / 'train.json')
    shutil.copy(shapes / 'annotations' / 'panoptic_train.json', root / 'segments.json')
    return root


def summarize(path: Path, kind: str | None = None) -> SplitSummary:
    (split,) = find_splits(path, kind)
    return check_split(split, read_images=False)


def images_of(path: Path) -> list[str]:
    return [image['file_name'] for image in json.loads(path.read_text())['images']]


@pytest.mark.parametrize(('kind', 'file'), [('instance', 'train.json'), ('panoptic', 'segments.json')])
def test_the_parts_are_disjoint_and_complete(single: Path, kind: str, file: str) -> None:
    whole = json.loads((single / file).read_text())
    train, val = divide_annotations(summarize(single, kind), val_share=0.3)
    assert (train.num_images, val.num_images) == (4, 2)
    parts = [json.loads(part.path.read_text()) for part in (train, val)]
    for key in ('images', 'annotations'):
        joined = sorted(parts[0][key] + parts[1][key], key=lambda entry: str(entry.get('id', entry.get('image_id'))))
        assert joined == sorted(whole[key], key=lambda entry: str(entry.get('id', entry.get('image_id'))))
    for part in parts:
        assert part['categories'] == whole['categories'] and part['annotations']
        assert {entry['image_id'] for entry in part['annotations']} <= {image['id'] for image in part['images']}


def test_no_annotation_is_lost_whose_image_id_is_a_text(single: Path) -> None:
    file = single / 'train.json'
    content = json.loads(file.read_text())
    for annotation in content['annotations']:
        annotation['image_id'] = str(annotation['image_id'])
    file.write_text(json.dumps(content))
    divide_annotations(summarize(single, 'instance'), val_share=0.5)
    for split in find_splits(single, 'instance'):
        summary = check_split(split, read_images=False)
        assert not summary.problems and sum(summary.objects.values()) > 0


@pytest.mark.parametrize('kind', ['instance', 'panoptic'])
def test_the_parts_are_found_instead_of_the_whole(single: Path, tmp_path: Path, kind: str) -> None:
    assert main(['data', 'split', str(single), '--kind', kind, '--val-share', '0.5']) == 0
    found = find_splits(single, kind)
    assert [split.name for split in found] == ['train', 'val']
    summaries = [check_split(split) for split in found]  # reads images and PNGs
    assert [summary.problems for summary in summaries] == [[], []]
    assert [summary.num_images for summary in summaries] == [3, 3]
    out = tmp_path / 'own.py'
    assert main(['data', 'config', str(single), '--kind', kind, '--out', str(out)]) == 0
    cfg = Config.fromfile(out)
    for loader, name in ((cfg.train_dataloader, 'train'), (cfg.val_dataloader, 'val')):
        assert Path(loader.dataset.ann_file).name == f'{name}.json'
        assert Path(loader.dataset.data_root, loader.dataset.data_prefix.img) == single / 'images'


@pytest.fixture
def neighbour(single: Path) -> Path:
    """Another dataset beside it, whose images and PNGs have the same names."""
    root = single.parent / 'neighbour'
    for folder in ('images', 'masks'):
        shutil.copytree(single / folder, root / 'train' / folder)
    return root


@pytest.mark.parametrize('kind', ['instance', 'panoptic'])
@pytest.mark.parametrize('place', ['parts', 'links/parts'])
def test_parts_elsewhere_keep_their_images(single: Path, neighbour: Path, kind: str, place: str) -> None:
    (single.parent / 'deep' / 'er').mkdir(parents=True)
    (single.parent / 'links').symlink_to(single.parent / 'deep' / 'er')
    out = single.parent / place
    assert main(['data', 'split', str(single), '--kind', kind, '--out', str(out)]) == 0
    for path in (out, out / 'train.json', out / 'val.json'):
        for split in find_splits(path):
            assert (split.root / split.image_dir).resolve() == single / 'images' and not split.notes
            assert kind == 'instance' or (split.root / split.seg_dir).resolve() == single / 'masks'
            assert not check_split(split).problems


def test_parts_beside_the_whole_file_are_found_by_themselves(single: Path) -> None:
    (single / 'annotations').mkdir()
    file = shutil.move(single / 'train.json', single / 'annotations' / 'train.json')
    assert main(['data', 'split', str(file)]) == 0
    found = find_splits(single / 'annotations' / 'train_split')
    assert [check_split(split).problems for split in found] == [[], []]


def test_parts_of_a_file_that_says_where_its_images_are(single: Path, neighbour: Path, tmp_path: Path) -> None:
    file = single / 'train.json'
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, 'info': {'images_in': '../neighbour/train/images'}}))
    for part in divide_annotations(summarize(file), out=tmp_path / 'some' / 'where'):
        (split,) = find_splits(part.path)
        assert (split.root / split.image_dir).resolve() == neighbour / 'train' / 'images'


def test_a_choice_of_images_is_said_when_it_is_written_down(single: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.copytree(single / 'images', single / 'overlays')
    assert main(['data', 'split', str(single / 'train.json')]) == 0
    assert f'note: the images are taken from {single}/images; {single}/overlays has' in capsys.readouterr().out


def test_the_seed_decides_and_two_kinds_agree(single: Path, tmp_path: Path) -> None:
    instances, segments = summarize(single, 'instance'), summarize(single, 'panoptic')
    drawn = []
    for seed in range(4):
        outs = [tmp_path / f'{seed}{kind}' for kind in ('instance', 'panoptic')]
        for one, out in zip((instances, segments), outs, strict=True):
            divide_annotations(one, 0.5, seed, out)
        names = [{Path(name).stem for name in images_of(out / 'val.json')} for out in outs]
        assert names[0] == names[1]
        drawn.append(tuple(sorted(names[0])))
    assert len(set(drawn)) > 1


def test_each_side_has_an_image(single: Path, tmp_path: Path) -> None:
    summary = summarize(single, 'instance')
    for share, numbers in ((0.001, (5, 1)), (0.999, (1, 5))):
        parts = divide_annotations(summary, share, out=tmp_path / str(share))
        assert tuple(part.num_images for part in parts) == numbers
    (rare,) = [part for part in parts if part.num_images == 1 and part.path.stem == 'train']
    assert rare.missing_classes, 'one image cannot have objects of all classes'


def test_what_cannot_be_divided(single: Path, shapes: Path, capsys: pytest.CaptureFixture) -> None:
    summary = summarize(single, 'instance')
    with pytest.raises(ValueError, match='between 0 and 1, got 1'):
        divide_annotations(summary, 1.0)
    with pytest.raises(DataError, match='1 problem.*annotation 7: no'):
        divide_annotations(dataclasses.replace(summary, problems=['annotation 7: no']))
    divide_annotations(summary)
    with pytest.raises(ValueError, match=r'train.json and .*val.json exist.*--overwrite'):
        divide_annotations(summary)
    divide_annotations(summary, overwrite=True)
    with pytest.raises(DataError, match='label maps have no annotation file'):
        divide_annotations(check_split(find_splits(shapes, 'semantic')[0], read_images=False))
    with pytest.raises(SystemExit) as stop:
        main(['data', 'split', str(shapes)])
    assert 'has 6 parts' in stop.value.code and 'instances_val.json' in stop.value.code


def test_two_files_that_are_named(single: Path, shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / 'own.py'
    val = shapes / 'annotations' / 'instances_val.json'
    assert main(['data', 'config', str(single / 'train.json'), '--val', str(val), '--out', str(out)]) == 0
    cfg = Config.fromfile(out)
    for loader, file, images in (
        (cfg.train_dataloader, single / 'train.json', single / 'images'),
        (cfg.val_dataloader, val, shapes / 'val'),
    ):
        root = Path(loader.dataset.data_root)
        assert (root / loader.dataset.ann_file).resolve() == file.resolve()
        assert (root / loader.dataset.data_prefix.img).resolve() == images.resolve()
    with pytest.raises(DataError, match='instance data, .* has panoptic data'):
        name_parts(*find_splits(single / 'train.json'), *find_splits(single / 'segments.json'))
    with pytest.raises(SystemExit) as stop:
        main(['data', 'config', str(single), '--val', str(val), '--out', str(tmp_path / 'b.py')])
    assert 'not both files' in stop.value.code


def test_two_parts_of_one_name_are_not_chosen_from(single: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    check = ['data', 'check', str(single), '--kind', 'instance', '--quick']
    assert main(check) == 0 and 'more than one part' not in capsys.readouterr().out
    shutil.copy(single / 'train.json', single / 'keypoints_train.json')
    assert main(check) == 0 and "note: more than one part is called 'train': " in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(['data', 'config', str(single), '--kind', 'instance', '--out', str(tmp_path / 'own.py')])
    assert "more than one part is called 'train'" in stop.value.code and 'keypoints_train.json' in stop.value.code
