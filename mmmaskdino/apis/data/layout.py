"""Which files of a folder are a dataset: annotation files with their images, or folders of images and label maps."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from mmmaskdino.datasets import coco_checks
from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.files import DataError, walk
from mmmaskdino.datasets.names import find_likely_file
from mmmaskdino.datasets.predicted import IMAGES_IN, is_drawn

from .label_maps import SPLIT_NAMES, find_label_maps, split_name

KINDS = ('instance', 'panoptic', 'semantic')
LISTS = ('images', 'annotations', 'categories')  # of a COCO file
KIND_KEYS = {'bbox', 'segmentation', 'segments_info'}  # of annotations, which tell what they are
# What files of annotations in other formats have, such as those of labelme and VIA.
ANNOTATION_KEYS = (b'"shapes"', b'"regions"', b'"annotations"', b'"images"', b'"objects"', b'"labels"')
MAX_SHOWN = 5  # files that a message names
MAX_DEPTH = 3  # of the folders that are looked into
SPLIT_OF = 'split_of'  # in a file's info: the annotation file that it is a part of, relative to its folder
PNGS_IN = 'pngs_in'  # in a file's info: the folder of its panoptic PNGs, relative to its own


class Split(NamedTuple):
    """One part of a dataset, such as its training images."""

    kind: str
    """'instance', 'panoptic' or 'semantic'."""
    name: str
    """'train', 'val', 'test', or the name of the file or folder where it tells none of them."""
    root: Path
    """Folder that the other paths are relative to."""
    image_dir: str
    """Of the images; '' is the root."""
    ann_file: str | None = None
    """COCO json; None of semantic data."""
    seg_dir: str | None = None
    """Of panoptic PNGs or label maps; None of instance data."""
    img_suffix: str = ''
    """End of the images' names, of semantic data."""
    seg_suffix: str = ''
    """End of the label maps' names, of semantic data."""
    notes: tuple[str, ...] = ()
    """How it was found, where that was a choice."""

    @property
    def source(self) -> Path:
        """The annotation file or the folder of label maps, for messages."""
        return self.root / (self.ann_file or self.seg_dir or '')


def find_splits(path: Path, kind: str | None = None) -> list[Split]:
    """Find the parts of a dataset.

    Args:
        path: Its folder, or one COCO json.
        kind: 'instance', 'panoptic' or 'semantic', to look for that alone.

    Returns:
        At least one, sorted by kind and name, training before validation. Of a folder, a file that was divided into
        others is left out.

    Raises:
        DataError: There is none.
    """
    others: list[str] = []
    if path.is_file():
        splits = [_split_of_file(path)]
    elif path.is_dir():
        files = dict(walk(path, MAX_DEPTH))
        annotations, others = _annotation_files(files)
        divided = {whole for file in annotations if (whole := _whole_file(file))}
        splits = [_coco_split(path, file, list(files)) for file in annotations if file.resolve() not in divided]
        splits += _semantic_splits(path, files, splits, asked=kind == 'semantic')
    else:
        raise DataError(f'{path}: no such file or folder')
    found = [split for split in splits if kind in (None, split.kind)]
    if not found:
        raise DataError(
            f'{path}: no {f"{kind} " if kind else ""}dataset found here. Expected a COCO json (images, annotations, '
            'categories) with its images in this folder or below, or a folder of images and one of label maps (PNGs of '
            f'one channel) with the same names{_describe_others(others)}'
        )
    if others:
        note = f'json files that are no COCO annotations are left out: {len(others)} ({_some(others)})'
        found[0] = found[0]._replace(notes=(*found[0].notes, note))
    return sorted(found, key=lambda split: (KINDS.index(split.kind), _rank(split.name), split.name))


def _describe_others(files: list[str]) -> str:
    return f'. {len(files)} json file(s) are of another kind: {_some(files)}' if files else ''


def _some(names: Collection[str]) -> str:
    return ', '.join(list(names)[:MAX_SHOWN]) + (', ...' if len(names) > MAX_SHOWN else '')


def _split_of_file(path: Path) -> Split:
    """The part of one annotation file; its images are below its folder or, where it is beside them, that above."""
    first = _coco_split(path.parent, path, _folders_to_search(path.parent))
    if _has_images(first) or path.resolve().parent.parent == Path(path.resolve().anchor):
        return first
    above = path.parent / '..' if path.parent == Path() else path.parent.parent
    second = _coco_split(above, path, _folders_to_search(above))
    return second if _has_images(second) else max(first, second, key=_has_likely_images)


def name_parts(train: Split, val: Split) -> list[Split]:
    """Two parts that were chosen, whatever they are called, as those for training and validation.

    Args:
        train: To train on.
        val: To evaluate; its paths become relative to the root of `train`.

    Returns:
        Both, named 'train' and 'val'.

    Raises:
        DataError: They are of different kinds.
    """
    if train.kind != val.kind:
        raise DataError(f'{train.source} has {train.kind} data, {val.source} has {val.kind} data; expected one kind')
    image_dir, ann_file, seg_dir = (
        None if path is None else _relative(val.root / path, train.root)
        for path in (val.image_dir, val.ann_file, val.seg_dir)
    )
    moved = val._replace(root=train.root, image_dir=image_dir or '', ann_file=ann_file, seg_dir=seg_dir)
    return [train._replace(name='train'), moved._replace(name='val')]


def read_json(path: Path) -> Any:
    """Parse an annotation file; the last few are remembered.

    Raises:
        DataError: It cannot be read, or is no json.
    """
    return _read_json(str(path.resolve()), path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=4)
def _read_json(path: str, changed: int) -> Any:
    return coco_checks.read_json(path)


def _folders_to_search(root: Path) -> list[Path]:
    """A folder and those below it, down to three levels, that may have the images."""
    return [folder for folder, _ in walk(root, MAX_DEPTH, skip_locked=True)]


def _annotation_files(files: dict[Path, list[str]]) -> tuple[list[Path], list[str]]:
    """The COCO files, and the other json files that cannot be read or have annotations, too.

    Raises:
        DataError: A file that is meant as one cannot be read.
    """
    annotations, others = [], []
    for folder, names in files.items():
        for name in names:
            if not name.lower().endswith('.json'):
                continue
            path = folder / name
            try:
                is_coco = _coco_kind(path) is not None
            except DataError as error:
                if _is_meant_as_coco(path):
                    raise
                others.append(f'{name}: {str(error).removeprefix(f"{path}: ")}')
                continue
            if is_coco:
                annotations.append(path)
            elif any(key in path.read_bytes() for key in ANNOTATION_KEYS):
                others.append(name)
    return annotations, others


def _is_meant_as_coco(path: Path) -> bool:
    """Whether a file that is no sound json has parts of a COCO file, or a name of one."""
    content = path.read_bytes()
    return any(f'"{key}"'.encode() in content for key in LISTS) or bool(
        split_name(path.stem) or 'annotation' in path.stem.lower() or 'instances' in path.stem.lower()
    )


def _coco_kind(path: Path) -> str | None:
    """Kind of an annotation file by its content; None for another json.

    Raises:
        DataError: It is one but for a list that is missing or none.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        return None
    annotations = content.get('annotations')
    entries = annotations if isinstance(annotations, list) else []
    keys = Counter(key for entry in entries if isinstance(entry, dict) for key in KIND_KEYS & entry.keys())
    missing = [key for key in LISTS if key not in content]
    if missing or not isinstance(annotations, list):
        if not missing or (len(missing) == 1 and keys):
            raise DataError(f'{path}: {"; ".join(_list_faults(content))}')
        return None
    if keys['segments_info'] > max(keys['bbox'], keys['segmentation']):
        return 'panoptic'
    return 'instance' if not annotations or keys else None  # entries of another kind are reported with the others


def _list_faults(content: Any) -> list[str]:
    """What a file lacks of the lists of the COCO format."""
    report = AnnotationReport('')
    with suppress(DataError):
        coco_checks.check_lists(content, report, annotations_optional=False)
    return report.lines()


def _whole_file(path: Path) -> Path | None:
    """The annotation file that this one is a part of."""
    whole = _recorded_path(path, SPLIT_OF)
    return whole and whole.resolve()


def _recorded_path(path: Path, key: str) -> Path | None:
    """A path that an annotation file has in its info, relative to its folder."""
    info = read_json(path).get('info')
    recorded = info.get(key) if isinstance(info, dict) else None
    return path.parent / recorded if isinstance(recorded, str) else None


def _coco_split(root: Path, path: Path, folders: list[Path]) -> Split:
    kind, content = _coco_kind(path), read_json(path)
    if kind is None:
        faults = _list_faults(content) or [f'no annotation has one of the keys {sorted(KIND_KEYS)}']
        raise DataError(f'{path}: not a COCO file of instances or segments: {"; ".join(faults)}')
    name = split_name(_relative(path.with_suffix(''), root)) or split_name(path.resolve().parent.name)
    image_names = _file_names(content['images'])
    seg_dir = None
    if kind == 'panoptic':
        png_names = _file_names(content['annotations'])
        seg_dir = _png_folder(path, folders, png_names, name)
        if not _has_any(seg_dir, set(image_names) - set(png_names)):
            folders = [folder for folder in folders if os.path.realpath(folder) != os.path.realpath(seg_dir)]
    image_dir, notes = _image_folder(path, folders, image_names, name)
    relative = [None if p is None else _relative(p, root) for p in (image_dir or root, path, seg_dir)]
    return Split(kind, name or path.stem.lower(), root, *relative, notes=notes)


def _png_folder(path: Path, folders: list[Path], names: list[str], split: str | None) -> Path:
    """The folder of the PNGs of a panoptic file; COCO's place if there is none."""
    known = _recorded_path(path, PNGS_IN)
    if known and _holders([known], names, path, split):
        return known
    beside = path.with_suffix('')
    return beside if beside.is_dir() else next(iter(_holders(folders, names, path, split)), beside)


def _image_folder(
    path: Path, folders: list[Path], names: list[str], split: str | None
) -> tuple[Path | None, tuple[str, ...]]:
    """The folder of the images of an annotation file, and what else it might have been."""
    known = _recorded_path(path, IMAGES_IN)
    if known and _holders([known], names, path, split):
        return known, ()
    holders = _holders(folders, names, path, split)
    sound = [folder for folder in holders if not is_drawn(folder / names[0])]
    if not sound:
        drawn = f'the images in {holders[0]} have results drawn on them, and there are no others' if holders else ''
        return next(iter(holders), None), (drawn,) if drawn else ()
    chosen = sound[0]
    # Files of another part often have the same names.
    rivals = [str(folder) for folder in sound[1:] if split_name(folder.name) in (None, split)]
    if rivals:
        note = f'the images are taken from {chosen}; {_some(rivals)} has files of these names, too'
        return chosen, (note,)
    return chosen, ()


def _file_names(entries: Any) -> list[str]:
    entries = entries if isinstance(entries, list) else []
    return [str(entry['file_name']) for entry in entries if isinstance(entry, dict) and 'file_name' in entry]


def _holders(folders: Iterable[Path], names: list[str], path: Path, split: str | None) -> list[Path]:
    """The folders that have most of some of the files, or else files of nearly these names; the likeliest first.

    Those of another dataset, which are farther from the annotation file, come after its own.
    """

    def unlikeliness(folder: Path) -> tuple:
        steps_up = _relative(folder, path.parent).split('/').count('..')
        return max(steps_up, 1), split_name(folder.name) != split, len(folder.parts)

    sample = names[:: max(1, len(names) // 20)]
    for is_there in (os.path.isfile, find_likely_file):
        counts = {folder: sum(bool(is_there(f'{folder}/{name}')) for name in sample) for folder in folders}
        most = max(counts.values(), default=0)
        if most:
            best = [folder for folder, count in counts.items() if count == most]
            return sorted(best, key=unlikeliness)
        sample = sample[:3]  # for these, whole folders are listed
    return []


def _semantic_splits(root: Path, files: dict[Path, list[str]], coco: list[Split], asked: bool) -> list[Split]:
    """Each folder of label maps with the folder of images that fits best."""
    taken = {os.path.realpath(split.root / split.seg_dir) for split in coco if split.seg_dir}
    files = {folder: names for folder, names in files.items() if os.path.realpath(folder) not in taken}
    pairs = find_label_maps(files, root, others=asked or not coco)
    splits = []
    for pair in pairs:
        images, labels = _relative(pair.images, root), _relative(pair.labels, root)
        name = split_name(images) or split_name(labels) or (pair.images if images else pair.labels).name.lower()
        paths = dict(image_dir=images, seg_dir=labels, img_suffix=pair.img_suffix, seg_suffix=pair.seg_suffix)
        splits.append(Split('semantic', name, root, **paths, notes=pair.notes))
    return splits


def _rank(name: str) -> int:
    return SPLIT_NAMES.index(name) if name in SPLIT_NAMES else len(SPLIT_NAMES)


def _relative(path: Path, root: Path) -> str:
    relative = Path(os.path.relpath(path, root)).as_posix()
    return '' if relative == '.' else relative


def _has_images(split: Split) -> bool:
    return _has_any(split.root / split.image_dir, _file_names(read_json(split.source)['images']))


def _has_any(folder: Path, names: Iterable[str]) -> bool:
    return any(os.path.isfile(folder / name) for name in names)


def _has_likely_images(split: Split) -> bool:
    names = _file_names(read_json(split.source)['images'])
    return bool(_holders([split.root / split.image_dir], names, split.source, None))
