"""Which folders hold label maps, and which hold their images: names fit together, and a file looks like labels."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from mmmaskdino.datasets.files import IMAGE_SUFFIXES

SPLIT_NAMES = ('train', 'val', 'test')
_SPLIT_WORDS = dict(train='.*train|train.*', val='val|vali|valid|validat.*|valset', test='test|tests|testing|testset')
LABEL_WORDS = ('mask', 'label', 'seg', 'annot', 'truth', 'gt', 'classes')
ONE_CHANNEL = ('1', 'L', 'P', 'I;16', 'I')  # modes of Pillow
MAX_COLOURS = 64  # a drawing of classes has few
NUM_SAMPLES, MAX_CANDIDATES = 3, 50
MIN_SHARE = 0.1  # of the images, that have a label map


class LabelMaps(NamedTuple):
    """A folder of label maps and that of their images, both with subfolders."""

    images: Path
    labels: Path
    img_suffix: str
    seg_suffix: str
    notes: tuple[str, ...] = ()
    """What was not chosen."""


class _Kind(NamedTuple):
    """Files of a folder whose names end in one way, as label maps of a folder of images."""

    same_split: bool
    share: float
    """Of the images that have one."""
    looks: int
    """3: one channel of few values; 2: one channel; 1: other pictures that may be meant as label maps."""
    img_suffix: str
    seg_suffix: str


def find_label_maps(files: Mapping[Path, list[str]], root: Path, others: bool) -> list[LabelMaps]:
    """Find the label maps of some folders.

    Args:
        files: Names of the files of each folder.
        root: The folder that was asked for; names above it tell nothing.
        others: Whether colour pictures and JPEG files may be meant as label maps. They cannot be read as such, which is
            said then instead of nothing.

    Returns:
        Folders of label maps with the folder of images that fits best; one for each folder of images.
    """
    pictures = {folder: found for folder, names in files.items() if (found := _pictures(names))}
    photos = {folder: _mode(folder / names[0]) not in ONE_CHANNEL for folder, names in pictures.items()}
    pairs: dict[Path, list[tuple[_Kind, Path]]] = defaultdict(list)
    for labels in pictures:
        fits = [(kind, images) for images in _near(labels, pictures) if (kind := _fit(images, labels, pictures, root))]
        if fits:
            kind, images = max(fits, key=lambda fit: (*fit[0][:2], photos[fit[1]], fit[0].looks, -len(fit[1].parts)))
            if kind.looks > 1 or others:
                pairs[images].append((kind, labels))
    found = [_choose(images, candidates, root) for images, candidates in pairs.items()]
    return _join([pair for pair in found if not _is_reverse(pair, pairs, root)], root)


def split_name(path: str) -> str | None:
    """'train', 'val' or 'test', as the last telling part of a path says; None if none does."""
    for part in reversed(Path(path).parts):
        words = [word.lower() for word in re.findall(r'[A-Z]?[a-z]+|[A-Z]+', part)]
        for name, pattern in _SPLIT_WORDS.items():
            if any(re.fullmatch(pattern, word) for word in words):
                return name
    return None


def _pictures(names: list[str]) -> list[str]:
    return [name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES]


def _near(labels: Path, pictures: Mapping[Path, list[str]]) -> list[Path]:
    """Folders that may hold the images: those of the same name, as of one city, or else all."""
    same = [folder for folder in pictures if folder.name == labels.name]
    return same if len(same) > 1 else list(pictures)


def _fit(images: Path, labels: Path, pictures: Mapping[Path, list[str]], root: Path) -> _Kind | None:
    """The best kind of label maps in a folder for those images."""
    mine, theirs = pictures[images], pictures[labels]
    there = set(theirs)
    suffixes: dict[tuple[str, str], None] = {}
    for name in mine[:: max(1, len(mine) // NUM_SAMPLES)][:NUM_SAMPLES]:
        lengths = {other: len(os.path.commonprefix([Path(name).stem, Path(other).stem])) for other in theirs}
        longest = max(lengths.values())
        likely = sorted((other for other, n in lengths.items() if n == longest > 0), key=len)[:MAX_CANDIDATES]
        suffixes.update({(name[longest:], other[longest:]): None for other in likely})
    kinds = []
    for mine_end, theirs_end in suffixes:
        if images == labels and not _tell_apart(mine_end, theirs_end):
            continue
        stems = [name.removesuffix(mine_end) for name in mine if name.endswith(mine_end)]
        pairs = [stem + theirs_end for stem in stems if stem + theirs_end in there]
        num_theirs = sum(name.endswith(theirs_end) for name in theirs)
        num_mine = len(mine) - num_theirs if images == labels else len(mine)
        share = len(pairs) / (num_mine + num_theirs - len(pairs))
        looks = _looks(labels / pairs[0], labels.relative_to(root)) if share >= MIN_SHARE else 0
        if looks:
            same = split_name(_inside(images, root)) == split_name(_inside(labels, root))
            kinds.append(_Kind(same, share, looks, mine_end, theirs_end))
    return max(kinds, key=_rank, default=None)


def _tell_apart(img_suffix: str, seg_suffix: str) -> bool:
    """Whether the ends of names tell images from label maps in one folder."""
    named = any(word in seg_suffix.lower() for word in LABEL_WORDS)
    return seg_suffix not in img_suffix and (named or img_suffix.rpartition('.')[2] != seg_suffix.rpartition('.')[2])


def _inside(folder: Path, root: Path) -> str:
    return folder.relative_to(root).as_posix()


def _rank(kind: _Kind) -> tuple:
    """Of several kinds in one folder: label maps before pictures, indices for training before others."""
    return kind.looks, kind.share, 'trainid' in kind.seg_suffix.lower(), -len(kind.seg_suffix)


def _looks(path: Path, place: Path) -> int:
    """How much a file is like a label map, see :class:`_Kind`; 0 if it is none."""
    try:
        with Image.open(path) as image:
            mode = image.mode
            colours = image.convert('RGB').getcolors(MAX_COLOURS)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return 0
    if path.suffix.lower() == '.png' and mode in ONE_CHANNEL:
        return 3 if colours else 2
    named = any(word in str(place).lower() for word in LABEL_WORDS)
    return int(named or (path.suffix.lower() not in ('.jpg', '.jpeg') and colours is not None and len(colours) > 1))


def _mode(path: Path) -> str | None:
    try:
        with Image.open(path) as image:
            return image.mode
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return None


def _choose(images: Path, candidates: list[tuple[_Kind, Path]], root: Path) -> LabelMaps:
    """One folder of label maps for a folder of images."""
    order = sorted(candidates, key=lambda c: (c[0].looks, _is_named(c[1], root), *c[0][:2]), reverse=True)
    (kind, labels), rest = order[0], order[1:]
    notes = tuple(
        f'label maps of the images in {images} are taken from {labels}; others that fit are left out: {other}'
        for other_kind, other in rest
        if other_kind.looks > 1
    )
    return LabelMaps(images, labels, kind.img_suffix, kind.seg_suffix, notes)


def _is_named(folder: Path, root: Path) -> bool:
    return any(word in _inside(folder, root).lower() for word in LABEL_WORDS)


def _is_reverse(pair: LabelMaps, pairs: Mapping[Path, list[tuple[_Kind, Path]]], root: Path) -> bool:
    """Whether the label maps of a pair are rather images: two folders of grey pictures fit each way."""
    backward = next((kind for kind, labels in pairs.get(pair.labels, ()) if labels == pair.images), None)
    if backward is None:
        return False
    forward = next(kind for kind, labels in pairs[pair.images] if labels == pair.labels)
    mine = (_is_named(pair.labels, root), forward.looks, str(pair.labels))
    return mine < (_is_named(pair.images, root), backward.looks, str(pair.images))


def _join(pairs: list[LabelMaps], root: Path) -> list[LabelMaps]:
    """Make one part of subfolders of the same name, such as cities: datasets read subfolders."""
    joined: dict[tuple, list[LabelMaps]] = defaultdict(list)
    for pair in pairs:
        images, labels = pair.images, pair.labels
        while (
            images.name == labels.name
            and images.parent != labels.parent
            and root not in (images, labels)
            and split_name(images.name) is None
        ):
            images, labels = images.parent, labels.parent
        joined[images, labels, pair.img_suffix, pair.seg_suffix].append(pair)
    return [
        LabelMaps(*key, tuple(Counter(note for pair in group for note in pair.notes))) for key, group in joined.items()
    ]
