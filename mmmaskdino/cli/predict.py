"""Predict for an image, the images of a folder or a video; write pictures and, on request, result files.

  mmmaskdino predict photo.jpg
  mmmaskdino predict photos/ --model work_dirs/pets --out results --save pictures instances panoptic
  mmmaskdino predict film.mp4 --config CONFIG --weights WEIGHTS --draw instances --score-thr 0.5

What --save writes into the folder of --out:
  pictures    pictures/NAME.jpg; of a video pictures/NAME.mp4
  instances   instances.json: boxes, masks (RLE), classes and scores in COCO's format
  panoptic    panoptic.json and panoptic/NAME.png in COCO's panoptic format
  semantic    semantic/NAME.png: class indices; semantic_classes.txt: their names

An image without results is named with the reason, the others are done, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import sys

from mmmaskdino.cli.arguments import add_config_options, add_device_argument, add_model_arguments, chosen_model
from mmmaskdino.cli.messages import errors_as_messages
from mmmaskdino.plain_text import printable

KINDS = ('panoptic', 'instances', 'semantic')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument('source', help='image, folder of images (and its subfolders), or video')
    add_model_arguments(parser)
    parser.add_argument('--out', default='results', help='folder of the results (default: %(default)s)')
    parser.add_argument(
        '--save',
        nargs='+',
        choices=('pictures', *KINDS),
        default=['pictures'],
        metavar='RESULT',
        help='what to write, of those above; only these results are computed (default: pictures)',
    )
    parser.add_argument(
        '--draw',
        choices=KINDS,
        help='results in the pictures; default: the first of these that is saved or, if none is, that the config gives',
    )
    parser.add_argument('--score-thr', type=float, help='lowest score of an instance, 0 to 1; default: 0.3')
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
    parser.add_argument('--batch-size', type=int, default=1, help='images per forward pass (default: %(default)s)')
    parser.add_argument(
        '--max-megapixels', type=float, default=64, help='larger images are rejected (default: %(default)s)'
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
        help='most that the test pipeline may hand to the network (default: %(default)s)',
    )
    parser.add_argument(
        '--picture-side', type=int, default=2048, help='longest side of a picture in pixels (default: %(default)s)'
    )
    parser.add_argument('--tta', action='store_true', help='test-time augmentation: merge several views of each image')
    add_device_argument(parser)
    add_config_options(parser)


def check_arguments(args: argparse.Namespace) -> None:
    """Reject a model that does not exist."""
    with errors_as_messages(ValueError):
        chosen_model(args)


def run(args: argparse.Namespace) -> int:
    """Predict, say what became of the images, and return the exit status."""
    from mmmaskdino.apis.inference import Limits, Predictor, predict_files
    from mmmaskdino.progress import progress_callback

    wanted = {*args.save, args.draw} - {'pictures', None}
    with errors_as_messages(ValueError, OSError):
        predictor = Predictor(
            *chosen_model(args),
            device=args.device,
            kinds=sorted(wanted) or None,
            score_thr=args.score_thr,
            max_per_image=args.max_per_image,
            object_mask_thr=args.object_mask_thr,
            overlap_thr=args.overlap_thr,
            box_margin=args.box_margin,
            limits=Limits(args.max_megapixels, args.reduce_above, args.max_input_megapixels),
            cfg_options=args.cfg_options,
            tta=args.tta,
        )
        summary = predict_files(
            predictor,
            args.source,
            args.out,
            save=args.save,
            draw=args.draw,
            batch_size=args.batch_size,
            max_side=args.picture_side,
            on_progress=progress_callback(),
        )
    print(f'{summary.num_done} image(s) done, {len(summary.failures)} without results; results in {args.out}')
    if summary.others:
        shown = ', '.join(summary.others[:10]) + (', ...' if len(summary.others) > 10 else '')
        print(f'{len(summary.others)} file(s) are no images by their suffix: {shown}', file=sys.stderr)
    for remark in predictor.remarks.lines():
        print(f'note: {printable(remark)}', file=sys.stderr)
    for failure in summary.failures:
        print(f'  no result for {failure.name}: {failure.reason.removeprefix(f"{failure.name}: ")}', file=sys.stderr)
    return int(bool(summary.failures))
