"""Estimate the memory of a training step and the batch that fits on GPUs of several sizes; runs on the CPU.

    mmmaskdino memory configs/maskdino/maskdino_r50_coco_panoptic.py --shape 1024 1024
    mmmaskdino memory configs/maskdino/maskdino_r50_coco_panoptic.py --with-cp --amp

The model behind the estimate is described in docs/performance.md.
"""

import argparse
import sys

from measuring.arguments import pixels
from measuring.training_memory import training_memory
from mmengine.config import DictAction

GPUS = (8, 12, 16, 24, 40, 80)
MANY = 64  # images of a batch; beyond, the estimate is of no use
CHECKPOINTED = ('backbone.with_cp', 'panoptic_head.pixel_decoder.with_cp', 'panoptic_head.decoder.with_cp')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file of a detector, or its name in the model zoo')
    parser.add_argument('--shape', type=pixels, nargs=2, default=[1024, 1024], metavar=('H', 'W'), help='of the images')
    parser.add_argument('--with-cp', action='store_true', help=f'activation checkpointing: {", ".join(CHECKPOINTED)}')
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value changes of the config')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    options = dict(args.cfg_options or {})
    if args.with_cp:
        options |= {f'model.{key}': True for key in CHECKPOINTED}
    try:
        memory = training_memory(args.config, options, args.amp)
    except (ValueError, OSError) as error:
        sys.exit(f'get_memory.py: {error}')
    shape = tuple(args.shape)
    print(f'parameters, gradients, moments: {memory.fixed / 2**30:.2f} GiB')
    print(f'stored per image of {shape[0]} x {shape[1]}: {memory.of_image(shape) / 2**30:.2f} GiB')
    for gib in GPUS:
        batch = memory.largest_batch(gib, shape)
        print(f'{gib:3} GB GPU: batch {batch if batch <= MANY else f"{MANY} or more"}')


if __name__ == '__main__':
    main()
