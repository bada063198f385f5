"""Predict for images and videos; write pictures and, on request, result files.

  mmmaskdino predict photo.jpg
  mmmaskdino predict photos/ film.mp4 'more/**/*.png' --model work_dirs/pets
  mmmaskdino predict https://example.org/photo.jpg --out results --save pictures instances panoptic
  mmmaskdino predict photos/ --config CONFIG --weights WEIGHTS --draw instances --score-thr 0.5
  mmmaskdino predict scene.tif --tiles 1024 --overlap 0.2 --save instances panoptic

SOURCE is an image or video, a folder (and its subfolders), a pattern of names in quotes, an archive (.zip, .tar, or
several as 'shard-{000..127}.tar'), a text file (.txt) with one of these per line, an http(s) address of an image, the
address of a bucket's folder, archive or image (s3://..., with s3fs), or - for an image from the standard input.

What --save writes into the folder of --out:
  pictures    pictures/NAME.jpg; of a video pictures/NAME.mp4
  instances   instances.json: boxes, masks (RLE), classes and scores in COCO's format
  panoptic    panoptic.json and panoptic/NAME.png in COCO's panoptic format
  semantic    semantic/NAME.png: class indices; semantic_classes.txt: their names

A line says what was found in each image. An image without results is named with the reason at the end, the others are
done, and the exit status is 1. The same command again does what is missing. Several processes share the images:

  torchrun --nproc-per-node 4 --no-python mmmaskdino predict photos/ ...
  srun --ntasks 16 mmmaskdino predict photos/ ...
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mmmaskdino.cli.arguments import (
    DEFAULT_MODEL,
    add_config_options,
    add_device_argument,
    add_model_arguments,
    add_tiles_arguments,
    add_tta_arguments,
    check_above_zero,
    check_tiles_arguments,
    chosen_model,
)
from mmmaskdino.cli.faults import faults_as_messages
from mmmaskdino.cli.messages import CommandError, errors_as_messages
from mmmaskdino.devices import check_name
from mmmaskdino.hub import FetchError
from mmmaskdino.output_files import check_pyarrow
from mmmaskdino.plain_text import printable

if TYPE_CHECKING:
    from mmmaskdino.apis.inference import Outcome, Predictor, Summary

KINDS = ('panoptic', 'instances', 'semantic')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument('sources', nargs='+', metavar='SOURCE', help='what to predict for, see above')
    add_model_arguments(parser)
    parser.add_argument('--out', default='results', help='folder of the results (default: %(default)s)')
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='make all results anew; without it the same command goes on with what is missing in --out',
    )
    parser.add_argument('--quiet', action='store_true', help='no line for each image')
    parser.add_argument(
        '--save',
        nargs='+',
        choices=('pictures', *KINDS),
        default=['pictures'],
        metavar='RESULT',
        help='what to write, of those above; only these results are computed (default: pictures)',
    )
    parser.add_argument(
        '--format',
        choices=('coco', 'parquet'),
        default='coco',
        help='of the results that are no pictures; parquet: all in results.parquet, a row per image, masks as RLE '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--draw',
        choices=KINDS,
        help='results in the pictures; default: the first of these that is saved or, if none is, that the config gives',
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        help="lowest score of an instance, 0 to 1; default: the config's, or 0.3 if that is 0",
    )
    parser.add_argument('--max-per-image', type=int, help='most instances of an image; default: as in the config')
    parser.add_argument(
        '--object-mask-thr', type=float, help='panoptic: lowest class score of a segment; default: as in the config'
    )
    parser.add_argument(
        '--overlap-thr', type=float, help='panoptic: least visible share of a segment; default: as in the config'
    )
    parser.add_argument(
        '--box-margin',
        type=float,
        metavar='SHARE',
        help='masks of things end where their box, grown by this share of its size on each side, ends, against stray '
        'parts: 0.1, for example; default: as in the config',
    )
    parser.add_argument(
        '--batch-size', type=int, default=1, help='images of like size per forward pass, at most (default: %(default)s)'
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=2,
        help='threads that read the next images while the model works, and results are written meanwhile; 0: one after '
        'another, in the least memory (default: %(default)s)',
    )
    parser.add_argument('--compile', action='store_true', help='compile the model first (torch.compile)')
    parser.add_argument(
        '--runtime',
        choices=('onnxruntime', 'openvino'),
        help='what runs a model of mmmaskdino export (.onnx); default: the first of these that is installed',
    )
    parser.add_argument(
        '--max-megapixels', type=float, default=256, help='larger images are rejected (default: %(default)s)'
    )
    parser.add_argument(
        '--reduce-above',
        type=float,
        default=16,
        metavar='MEGAPIXELS',
        help='larger images are reduced before prediction; result files keep the original size (default: %(default)s)',
    )
    parser.add_argument(
        '--max-input-megapixels',
        type=float,
        default=4,
        help='most that the test pipeline may hand to the network; images are reduced until it does (default: '
        '%(default)s)',
    )
    parser.add_argument(
        '--picture-side', type=int, default=2048, help='longest side of a picture in pixels (default: %(default)s)'
    )
    add_tta_arguments(parser)
    add_tiles_arguments(parser)
    add_device_argument(parser)
    add_config_options(parser)


def check_arguments(args: argparse.Namespace) -> None:
    """Find what is to be predicted; reject what is not there, numbers that cannot be, and results that are there."""
    from mmmaskdino.apis.inference.sources import check_replaced, find_images, result_folders

    with errors_as_messages(ValueError, OSError), _other_models_named(args):
        check_name(args.device)
        check_tiles_arguments(args)
        check_above_zero(args, 'batch_size', 'picture_side', 'max_megapixels', 'reduce_above', 'max_input_megapixels')
        if args.workers < 0:
            raise ValueError(f'--workers must be at least 0, got {args.workers}')
        args.found = find_images(args.sources, result_folders(Path(args.out)))
        check_replaced(args.found, Path(args.out), args.save, args.overwrite)
        if args.format == 'parquet':
            check_pyarrow()
        chosen_model(args)


@contextmanager
def _other_models_named(args: argparse.Namespace) -> Iterator[None]:
    """Where the default model cannot be fetched, say how to name another."""
    try:
        yield
    except FetchError as error:
        if args.model or args.config or args.weights:
            raise
        raise CommandError(
            f'{error}\nno model was named, so {DEFAULT_MODEL} was taken; one of your own: --model work_dirs/NAME'
        ) from error


def run(args: argparse.Namespace) -> int:
    """Predict, say what became of the images, and return the exit status."""
    from mmmaskdino.apis.inference.processes import joined_processes

    with faults_as_messages(), joined_processes() as number:
        return _predict(args, number)


def _predict(args: argparse.Namespace, number: int | None) -> int:
    """Predict, as one of several processes of this machine if it has a number."""
    from mmmaskdino.apis.inference import Limits, Predictor, predict_files
    from mmmaskdino.apis.inference.processes import is_first
    from mmmaskdino.devices import nth_device
    from mmmaskdino.progress import progress_callback

    wanted = {*args.save, args.draw} - {'pictures', None}
    with errors_as_messages(ValueError, OSError), _other_models_named(args):
        predictor = Predictor(
            *chosen_model(args),
            device=args.device if args.device or number is None else nth_device(number),
            kinds=sorted(wanted) or None,
            score_thr=args.score_thr,
            max_per_image=args.max_per_image,
            object_mask_thr=args.object_mask_thr,
            overlap_thr=args.overlap_thr,
            box_margin=args.box_margin,
            limits=Limits(args.max_megapixels, args.reduce_above, args.max_input_megapixels),
            cfg_options=args.cfg_options,
            tta=args.tta,
            tta_scales=args.tta_scales,
            tta_flips=args.tta_flips,
            tiles=args.tiles,
            overlap=args.overlap,
            runtime=args.runtime,
        )
        if is_first():
            _warn_without_effect(args, predictor)
        if args.tiles is not None and is_first():
            predictor.on_tile = _tile_progress()
        if args.compile:
            predictor.compile()
        summary = predict_files(
            predictor,
            args.found,
            args.out,
            save=args.save,
            draw=args.draw,
            batch_size=args.batch_size,
            max_side=args.picture_side,
            on_progress=progress_callback() if is_first() and args.tiles is None else None,
            on_result=None if args.quiet else _print_outcome,
            overwrite=args.overwrite,
            result_format=args.format,
            workers=args.workers,
        )
    if is_first():
        _print_summary(summary, predictor, args.out)
    return int(bool(summary.failures))


def _warn_without_effect(args: argparse.Namespace, predictor: Predictor) -> None:
    """Say that a threshold of instances changes no picture of panoptic segments."""
    drawn = args.draw or next(kind for kind in KINDS if kind in predictor.kinds)
    if args.score_thr is None or 'instances' in (drawn, *args.save) or 'instances' not in predictor.kinds:
        return
    other = ' or use --object-mask-thr' * (drawn == 'panoptic')
    print(
        f'note: --score-thr applies to instances, and the pictures show {drawn} results: add --draw instances{other}',
        file=sys.stderr,
    )


def _tile_progress() -> Callable[[int, int], None]:
    """Shows the progress of each image, tile by tile."""
    from mmmaskdino.progress import progress_callback

    show = None

    def show_tiles(done: int, total: int) -> None:
        nonlocal show
        show = show or progress_callback('tile')
        show(done, total)
        if done == total:
            show = None

    return show_tiles


def _print_outcome(outcome: Outcome) -> None:
    """A line for an image; of a video, for a frame in every hundred."""
    from mmmaskdino.apis.inference import Failure
    from mmmaskdino.progress import print_beside

    if outcome.is_frame and not outcome.file_name.endswith('00'):
        return
    if isinstance(outcome.result, Failure):
        text = 'no result'
    else:
        seconds = outcome.result.seconds
        text = f'{outcome.result.summary()}; {seconds:.{1 if seconds >= 0.1 else 2}f} s'
        text += f' -> {outcome.picture}' * (outcome.picture is not None)
    print_beside(printable(f'{outcome.file_name}: {text}'))


def _print_summary(summary: Summary, predictor: Predictor, out: str) -> None:
    before = f', {summary.num_before} were there' * bool(summary.num_before)
    print(f'{summary.num_done} image(s) done{before}, {len(summary.failures)} failed; results in {out}')
    if summary.others:
        shown = ', '.join(summary.others[:10]) + (', ...' if len(summary.others) > 10 else '')
        print(f'note: {len(summary.others)} file(s) are no images by their suffix: {printable(shown)}', file=sys.stderr)
    if summary.num_empty:
        options = dict(panoptic='--object-mask-thr', instances='--score-thr')  # of the first result, which is counted
        option = options.get(next(kind for kind in KINDS if kind in predictor.kinds))
        hint = f'; a lower {option} shows less certain objects' if option else ''
        print(f'note: nothing was found in {summary.num_empty} image(s){hint}', file=sys.stderr)
    for remark in summary.remarks:
        print(f'note: {printable(remark)}', file=sys.stderr)
    for failure in summary.failures:
        reason = printable(failure.reason.removeprefix(f'{failure.name}: '))
        print(f'  no result for {printable(failure.name)}: {reason}', file=sys.stderr)
