"""Generate the quick-start dataset: shapes over textured ground, as COCO instances, COCO panoptic and label maps."""

import argparse
import sys

from mmmaskdino.datasets.shapes import make_shapes_dataset


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', help='folder to write')
    parser.add_argument('--train', type=int, default=2000, help='number of training images (default: %(default)s)')
    parser.add_argument('--val', type=int, default=200, help='number of validation images (default: %(default)s)')
    parser.add_argument('--size', type=int, default=128, help='side of the images in pixels (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='(default: %(default)s)')
    parser.add_argument('--overwrite', action='store_true', help='replace a generated dataset with other parameters')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        out = make_shapes_dataset(args.out, args.train, args.val, args.size, args.seed, args.overwrite)
    except (ValueError, OSError) as error:
        sys.exit(f'make_shapes.py: {error}')
    print(f'{args.train} training and {args.val} validation images in {out}')


if __name__ == '__main__':
    main()
