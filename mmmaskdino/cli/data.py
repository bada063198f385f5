"""Check a dataset, divide it into training and validation images, or write a config that trains on it.

  mmmaskdino data check data/pets
  mmmaskdino data split data/pets/pets.json --val-share 0.2
  mmmaskdino data config data/pets --out pets.py --gpu-memory 16
  mmmaskdino data config data/pets --out pets.py --small

PATH is a folder with COCO files (instances or panoptic) and their images, or with images and label maps (PNGs of one
channel with class indices, 255 where nothing is labelled), or one COCO file. What is where is found out.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mmmaskdino.cli.messages import errors_as_messages

KINDS = ('instance', 'panoptic', 'semantic')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    actions = parser.add_subparsers(dest='action', metavar='ACTION', required=True)
    check = actions.add_parser(
        'check',
        help='report what is in a dataset and everything that is wrong with it',
        description='Report counts, classes, sizes and every problem, with file and annotation. Exit status 1 if there '
        'is any.',
    )
    _add_shared(check)
    check.add_argument(
        '--quick', action='store_true', help='do not read images and PNGs; damaged files are not found then'
    )
    check.add_argument('--picture', help='diagrams to write; default: work_dirs/data_check/<name of the folder>.png')
    _add_split(actions)
    config = actions.add_parser(
        'config',
        help='write a config of at most 25 lines that trains on a dataset',
        description='Write a config with the classes, files, batch size, learning rate and schedule for a dataset.',
    )
    _add_shared(config)
    config.add_argument('--out', required=True, help='config file to write')
    config.add_argument(
        '--val',
        type=Path,
        metavar='JSON',
        help='annotation file to evaluate, with that of PATH to train on; default: what is called val or test',
    )
    config.add_argument('--gpu-memory', type=float, help='of each GPU in GiB (default: 24); not with --small')
    config.add_argument('--gpus', type=int, default=1, help='number of GPUs (default: %(default)s)')
    config.add_argument(
        '--image-size',
        type=int,
        help='side of the training images in pixels; default: 1024, or what fits the memory; --small: 256 to 512',
    )
    config.add_argument(
        '--epochs',
        type=int,
        help='default: 12, or what makes 5000 iterations if that is more; --small: 30, in 1000 to 20000 iterations',
    )
    config.add_argument('--load-from', help='weights to start from; classes are matched by name')
    config.add_argument('--base', type=Path, help='config to inherit from (default: with ResNet-50)')
    config.add_argument(
        '--small',
        action='store_true',
        help='a small model that starts from ImageNet weights, for a CPU and few or small images; sizes and numbers '
        'are chosen from the data, and the reasons printed',
    )
    config.add_argument(
        '--boxes-only', action='store_true', help='train boxes alone, also where objects have masks, or some of them'
    )
    config.add_argument('--flat', action='store_true', help='write all out instead of inheriting from another config')
    config.add_argument('--overwrite', action='store_true', help='replace the file of --out if it is there')


def _add_split(actions: argparse._SubParsersAction) -> None:
    split = actions.add_parser(
        'split',
        help='divide an annotation file into one for training and one for validation',
        description='Divide the images of a COCO file (instances or panoptic) at random and write train.json and '
        'val.json, which the other actions take instead of it. Images stay where they are.',
    )
    _add_shared(split)
    split.add_argument(
        '--val-share', type=float, default=0.2, help='share of the images for validation (default: %(default)g)'
    )
    split.add_argument('--seed', type=int, default=0, help='of the random choice (default: %(default)s)')
    split.add_argument('--out', type=Path, help='folder to write to; default: NAME_split beside NAME.json')
    split.add_argument('--overwrite', action='store_true', help='replace files that are there')


def _add_shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('path', type=Path, help='folder of the dataset, or one COCO json')
    parser.add_argument('--kind', choices=KINDS, help='what to look for; default: whatever is there')
    parser.add_argument(
        '--classes',
        help='semantic data: names separated by commas, or a text file with one per line; default: classes.txt in the '
        'folder, or else numbers',
    )


def run(args: argparse.Namespace) -> int:
    """Check or write, and return the exit status."""
    with errors_as_messages(ValueError, OSError):
        return dict(check=report, split=divide, config=write)[args.action](args)


def report(args: argparse.Namespace) -> int:
    """Print what is in the dataset and what is wrong with it."""
    from mmmaskdino.apis.data import draw_summaries, find_differences, find_doubled_parts, find_splits, format_summary
    from mmmaskdino.plain_text import printable

    splits = find_splits(args.path, args.kind)
    summaries = _summaries(args, splits, read_images=not args.quick)
    for summary in summaries:
        print('\n' + printable(format_summary(summary)))
    between = find_differences(summaries)
    notes = find_doubled_parts(summaries) + _unused_classes(summaries)
    lines = [f'problem: {problem}' for problem in between] + [f'note: {note}' for note in notes]
    if lines:
        print('\n' + printable('\n'.join(lines)))
    picture = Path(args.picture or f'work_dirs/data_check/{args.path.resolve().stem}.png')
    draw_summaries(summaries, picture)
    num_problems = sum(summary.num_problems for summary in summaries) + len(between)
    print(f'\n{num_problems} problem(s) in {len(splits)} part(s); diagrams: {picture}')
    return int(num_problems > 0)


def divide(args: argparse.Namespace) -> int:
    """Write the two annotation files and say what is in them."""
    from mmmaskdino.apis.data import divide_annotations, find_splits
    from mmmaskdino.plain_text import printable

    splits = find_splits(args.path, args.kind)
    if len(splits) > 1:
        names = ', '.join(str(split.source) for split in splits)
        raise ValueError(f'{args.path} has {len(splits)} parts ({names}); give the annotation file to divide')
    (summary,) = _summaries(args, splits, read_images=False)
    print()
    for note in summary.split.notes:
        print(f'note: {printable(note)}')
    for part in divide_annotations(summary, args.val_share, args.seed, args.out, args.overwrite):
        print(f'wrote {part.path}: {part.num_images} images, {part.num_objects} objects')
        if part.missing_classes:
            print(f'note: it has no object of {", ".join(part.missing_classes)}; another --seed may be better')
    return 0


def write(args: argparse.Namespace) -> int:
    """Write the config and say what to do with it."""
    from mmmaskdino.apis.data import TrainingPlan, choose_recipe, format_remarks, write_config
    from mmmaskdino.plain_text import printable

    out = Path(args.out)
    if out.exists() and not args.overwrite:
        raise ValueError(f'{out} exists; choose another name or replace it with --overwrite')
    if args.small and args.gpu_memory is not None:
        raise ValueError('--small trains on 2 images at a time, whatever the memory; leave out --gpu-memory or --small')
    splits = _splits_to_train_on(args)
    kinds = ('instance',) if args.boxes_only else ('panoptic', 'instance', 'semantic')
    kind = next((kind for kind in kinds if any(s.kind == kind for s in splits)), None)
    if kind is None:
        raise ValueError(f'--boxes-only needs instance data, got {splits[0].kind} data in {args.path}')
    chosen = [split for split in splits if split.kind == kind]
    summaries = _summaries(args, chosen, False, not args.boxes_only, is_whole=len(chosen) == len(splits))
    recipe = choose_recipe(summaries, args.gpus, args.image_size, args.epochs) if args.small else None
    plan = TrainingPlan(
        TrainingPlan.gpu_memory if args.gpu_memory is None else args.gpu_memory,
        args.gpus,
        args.epochs,
        args.load_from,
        args.base,
        args.image_size,
        recipe,
        args.flat,
    )
    write_config(summaries, plan, out)
    for reason in recipe.reasons if recipe else ():
        print(f'chosen: {reason}')
    remarks = [f'{summary.split.source}: {line}' for summary in summaries for line in format_remarks(summary)]
    for note in [*remarks, *_unused_classes(summaries)]:
        print(f'note: {printable(note)}')
    names = {summary.split.name for summary in summaries}
    if not names & {'val', 'test'}:
        print(
            'note: there is no validation data; the training data are evaluated, which says little. mmmaskdino data '
            'split divides them'
        )
    if kind != 'semantic' and not args.small and not has_gpu():
        print('note: there is no GPU here, and on a CPU this model takes days; --small writes one that takes minutes')
    others = sorted({split.kind for split in splits} - {kind})
    if others:
        print(f'note: {kind} data were chosen; --kind {" or ".join(others)} is there, too')
    print(
        f'wrote {out}\n  check the data:  mmmaskdino data check {args.path}\n  train:           mmmaskdino train {out}'
    )
    return 0


def _splits_to_train_on(args: argparse.Namespace) -> list:
    from mmmaskdino.apis.data import find_splits, name_parts

    splits = find_splits(args.path, args.kind)
    if args.val is None:
        return splits
    if not args.path.is_file() or not args.val.is_file():
        raise ValueError(
            f'--val is an annotation file beside one of PATH to train on, got {args.val} and {args.path}, which are '
            'not both files'
        )
    return name_parts(*splits, *find_splits(args.val, args.kind))


def _unused_classes(summaries: list) -> list[str]:
    """A note on classes that no object has."""
    from mmmaskdino.apis.data import find_unused_classes

    instances = [summary for summary in summaries if summary.split.kind == 'instance' and summary.classes]
    unused = find_unused_classes(instances) if instances else []
    names = ', '.join(map(str, unused))
    return [f'no object in any part has one of these classes, which data config leaves out: {names}'] if unused else []


def has_gpu() -> bool:
    """Whether there is an NVIDIA GPU that is not hidden; torch is not asked, whose import takes seconds."""
    return Path('/dev/nvidia0').exists() and os.environ.get('CUDA_VISIBLE_DEVICES') not in ('', '-1')


def _summaries(
    args: argparse.Namespace, splits: list, read_images: bool, with_masks: bool = True, is_whole: bool = True
) -> list:
    if args.classes and not any(split.kind == 'semantic' for split in splits):
        raise ValueError(
            f'--classes names the classes of label maps; got {splits[0].kind} data, whose classes are the categories '
            'of the json. Leave it out; for label maps in the same folder choose --kind semantic'
        )
    listed = args.path / 'classes.txt'
    classes = _read_classes(args.classes or (str(listed) if listed.is_file() else None))
    return summarise(args.path, splits, classes, read_images, with_masks, is_whole and args.kind is None)


def summarise(
    path: Path,
    splits: list,
    classes: list[str] | None = None,
    read_images: bool = True,
    with_masks: bool = True,
    all_kinds: bool = False,
) -> list:
    """Check parts of a dataset, alone and beside each other.

    Args:
        path: The folder or file that they were found in.
        splits: The parts.
        classes: Names of the classes of label maps.
        read_images: Whether images and PNGs are read.
        with_masks: Whether the masks of instances are looked at.
        all_kinds: Whether these are all parts of the folder, so that images that none lists are worth a remark.
    """
    from mmmaskdino.apis.data import check_split, compare_parts
    from mmmaskdino.progress import progress_callback

    summaries = [check_split(split, classes, read_images, progress_callback(), with_masks) for split in splits]
    compare_parts(summaries, path.is_dir() and all_kinds)
    return summaries


def _read_classes(text: str | None) -> list[str] | None:
    """Class names from the command line or a file."""
    if text is None:
        return None
    path = Path(text)
    if path.suffix.lower() == '.txt' and ',' not in text and not path.is_file():
        raise ValueError(f'--classes {text}: no such file; expected names separated by commas, or a file that is there')
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines() if path.is_file() else text.split(',')
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: the names must be in UTF-8 ({error}); save the file in this encoding') from error
    names = [line.strip() for line in lines if line.strip()]
    if len(set(names)) < max(len(names), 1):
        raise ValueError(f'--classes needs names that differ, got {names}')
    return names
