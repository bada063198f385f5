"""Draw what happens inside a model for one image.

  mmmaskdino explain CONFIG WEIGHTS photo.jpg OUT_DIR --at 320 200

writes layers.png (mask, box and class of an object after each stage), sampling_points.png (where its query looks in
each decoder layer) and, if queries are selected, tokens.png (which tokens of the encoder became queries, and what the
best of them predict at once).
"""

import argparse
import sys
from pathlib import Path

from mmengine.config import DictAction

from mmmaskdino.apis import Predictor
from mmmaskdino.datasets.files import DataError
from mmmaskdino.visualization.explanation import Explanation
from mmmaskdino.visualization.trace import TraceRecorder


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or its name in the model zoo')
    parser.add_argument('weights', help='checkpoint file or URL')
    parser.add_argument('image', help='image file')
    parser.add_argument('out_dir', help='folder for the pictures')
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument('--object', type=int, default=1, metavar='N', help='the N-th best thing (default: 1)')
    chosen.add_argument('--at', type=float, nargs=2, metavar=('X', 'Y'), help='the object at this pixel')
    parser.add_argument('--num-masks', type=int, default=10, help='masks in tokens.png (default: %(default)s)')
    parser.add_argument('--device', help='cpu, cuda or the number of a GPU; default: the first GPU, or else the CPU')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value changes of the config')
    return parser.parse_args()


def explain(args: argparse.Namespace) -> list[Path]:
    """Draw, and return the paths of the pictures."""
    predictor = Predictor(args.config, args.weights, args.device, cfg_options=args.cfg_options)
    with TraceRecorder(predictor.model) as recorder:
        prediction = predictor(args.image)
        image, sample = prediction.image, prediction.sample
    size = tuple(sample.img_shape[:2])
    # mmseg's segmentor pads by itself.
    canvas = tuple(sample.get('batch_input_shape') or (side + -side % 32 for side in size))
    explanation = Explanation(image[..., ::-1], recorder.trace, (canvas, size), predictor.dataset_meta['classes'])
    if args.at:
        query = explanation.query_at(*args.at)
    else:
        num_things = getattr(getattr(predictor.model, 'panoptic_head', None), 'num_things_classes', None)
        query = explanation.best_query(args.object - 1, num_things or None)
    figures = dict(layers=explanation.layers(query), sampling_points=explanation.sampling_points(query))
    if recorder.trace.tokens is not None:
        figures['tokens'] = explanation.tokens(args.num_masks)
    folder = Path(args.out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f'{name}.png' for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        figure.savefig(path)
    return paths


def main() -> None:
    try:
        paths = explain(parse_args())
    except (ValueError, OSError, DataError) as error:
        sys.exit(f'explain_prediction.py: {error}')
    print('\n'.join(map(str, paths)))


if __name__ == '__main__':
    main()
