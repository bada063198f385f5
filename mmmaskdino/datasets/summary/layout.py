"""Which files of a folder are a dataset: annotation files with their images, or folders of images and label maps."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, UnidentifiedImageError

from mmmaskdino.datasets import coco_checks
from mmmaskdino.datasets.files import DataError

KINDS = ('instance', 'panoptic', 'semantic')
SPLIT_NAMES = ('train', 'val', 'test')
KIND_KEYS = {'bbox', 'segmentation', 'segments_info'}  # of annotations, which tell what they are
IMAGE_SUFFIXES = {'.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'}
MAX_DEPTH = 3  # of the folders that are looked into
SPLIT_OF = 'split_of'  # in a file's info: the annotation file that it is a part of, relative to its folder


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
    if path.is_file():
        roots = [path.parent, path.parent.parent]  # 'annotations' is usually beside the images
        splits = [max((_coco_split(root, path, list_folders(root)) for root in roots), key=_has_images)]
    elif path.is_dir():
        folders = list_folders(path)
        files = [file for file in _json_files(folders) if _coco_kind(file)]
        divided = {whole for file in files if (whole := _whole_file(file))}
        splits = [_coco_split(path, file, folders) for file in files if file.resolve() not in divided]
        splits += _semantic_splits(path, folders)
    else:
        raise DataError(f'{path}: no such file or folder')
    found = [split for split in splits if split is not None and kind in (None, split.kind)]
    if not found:
        raise DataError(
            f'{path}: no {f"{kind} " if kind else ""}dataset found here. Expected a COCO json (images, annotations, '
            'categories) with its images in this folder or below, or a folder of images and one of label maps (PNGs of '
            'one channel) with the same names'
        )
    return sorted(found, key=lambda split: (KINDS.index(split.kind), _rank(split.name), split.name))


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


def list_folders(root: Path) -> list[Path]:
    """A folder and those below it, down to three levels, without hidden ones."""
    found = [root]
    for folder, folders, _ in os.walk(root):
        depth = len(Path(folder).relative_to(root).parts)
        folders[:] = sorted(name for name in folders if not name.startswith('.')) if depth < MAX_DEPTH else []
        found += [Path(folder, name) for name in folders]
    return found


def _json_files(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(folder.glob('*.json'))


def _coco_kind(path: Path) -> str | None:
    """Kind of an annotation file by its content; None for another json."""
    content = read_json(path)
    if not isinstance(content, dict) or not {'images', 'categories'} <= set(content):
        return None
    annotations = content.get('annotations')
    if not isinstance(annotations, list):
        return None
    keys = Counter(key for entry in annotations if isinstance(entry, dict) for key in KIND_KEYS & entry.keys())
    if keys['segments_info'] > max(keys['bbox'], keys['segmentation']):
        return 'panoptic'
    return 'instance' if not annotations or keys else None  # entries of another kind are reported with the others


def _whole_file(path: Path) -> Path | None:
    """The annotation file that this one is a part of."""
    info = read_json(path).get('info')
    whole = info.get(SPLIT_OF) if isinstance(info, dict) else None
    return (path.parent / whole).resolve() if isinstance(whole, str) else None


def _coco_split(root: Path, path: Path, folders: list[Path]) -> Split:
    kind = _coco_kind(path)
    if kind is None:
        raise DataError(f"{path}: not a COCO file of instances or segments ('images', 'annotations', 'categories')")
    content = read_json(path)
    name = _split_name(path.stem)
    if name not in SPLIT_NAMES and path.parent != root:  # one name in several folders, such as annotations.json
        name = next((split for split in SPLIT_NAMES if split in path.parent.name.lower()), name)
    image_names = _file_names(content['images'])
    seg_dir = None
    if kind == 'panoptic':
        beside = path.with_suffix('')  # COCO's place
        png_names = _file_names(content['annotations'])
        seg_dir = beside if beside.is_dir() else _holder(folders, png_names, name) or beside
    others = [folder for folder in folders if folder != seg_dir]
    image_dir = _holder(others, image_names, name) or _holder(folders, image_names, name)
    relative = [None if p is None else _relative(p, root) for p in (image_dir or root, path, seg_dir)]
    return Split(kind, name, root, *relative)


def _file_names(entries: Any) -> list[str]:
    entries = entries if isinstance(entries, list) else []
    return [str(entry['file_name']) for entry in entries if isinstance(entry, dict) and 'file_name' in entry]


def _holder(folders: list[Path], names: list[str], split: str) -> Path | None:
    """The folder that has most of some of the files; of several, one whose name tells the split."""
    sample = names[:: max(1, len(names) // 20)]
    counts = {folder: sum((folder / name).is_file() for name in sample) for folder in folders}
    best = max(folders, key=lambda f: (counts[f], split in f.name, -len(f.parts)), default=None)
    return best if best is not None and counts[best] else None


def _semantic_splits(root: Path, folders: list[Path]) -> list[Split]:
    """Each folder of label maps with the folder of images that fits best."""
    stems = {folder: _stems(folder) for folder in folders}
    stems = {folder: found for folder, found in stems.items() if found}
    splits = []
    for labels in [folder for folder in stems if _holds_label_maps(folder, stems[folder])]:
        fits = [(_fit(folder, labels, stems), folder) for folder in stems if folder != labels]
        (_, _, extra), images = max(fits, key=lambda fit: fit[0][:2], default=((False, 0.0, ''), None))
        if images is None or extra is None:
            continue
        suffix = _common_suffix(stems[images])
        name = _split_name(_relative(images, root)) if images != root else _split_name(labels.name)
        paths = dict(image_dir=_relative(images, root), seg_dir=_relative(labels, root))
        splits.append(Split('semantic', name, root, **paths, img_suffix=suffix, seg_suffix=f'{extra}.png'))
    return splits


def _stems(folder: Path) -> dict[str, str]:
    """Suffix of each image file of a folder by its stem."""
    paths = (Path(entry.path) for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith('.'))
    return {path.stem: path.suffix for path in sorted(paths) if path.suffix.lower() in IMAGE_SUFFIXES}


def _holds_label_maps(folder: Path, stems: dict[str, str]) -> bool:
    """Whether a folder has PNGs alone and the first has one channel that is no photograph's."""
    if set(stems.values()) != {'.png'}:
        return False
    try:
        with Image.open(folder / f'{next(iter(stems))}.png') as image:
            return image.mode in ('L', 'P', 'I;16', 'I')
    except (UnidentifiedImageError, OSError, SyntaxError):
        return False


def _fit(images: Path, labels: Path, stems: dict[Path, dict[str, str]]) -> tuple[bool, float, str | None]:
    """Whether both names tell one split, the share of files with a partner, and what labels' names have more."""
    mine, theirs = stems[images], stems[labels]
    first = next(iter(mine))
    extra = min((name[len(first) :] for name in theirs if name.startswith(first)), key=len, default=None)
    if extra is None:
        return False, 0.0, None
    num_pairs = sum(stem + extra in theirs for stem in mine)
    share = num_pairs / (len(mine) + len(theirs) - num_pairs)
    same = _split_name(str(images)) == _split_name(str(labels))
    return same, share, extra


def _common_suffix(stems: dict[str, str]) -> str:
    """The most frequent file suffix."""
    suffixes = list(stems.values())
    return max(set(suffixes), key=suffixes.count)


def _split_name(text: str) -> str:
    name = text.lower().rpartition('/')[2]
    return next((split for split in SPLIT_NAMES if split in name), name)


def _rank(name: str) -> int:
    return SPLIT_NAMES.index(name) if name in SPLIT_NAMES else len(SPLIT_NAMES)


def _relative(path: Path, root: Path) -> str:
    relative = Path(os.path.relpath(path, root)).as_posix()
    return '' if relative == '.' else relative


def _has_images(split: Split) -> bool:
    return any(
        (split.root / split.image_dir / name).is_file() for name in _file_names(read_json(split.source)['images'])
    )
