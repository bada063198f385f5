"""Draw ground truth beside prediction for the images of a config's test dataset that are predicted worst, worst first.

  mmmaskdino worst CONFIG CHECKPOINT OUT_DIR --num 8

quality.csv lists all images, worst first. Quality is that of panoptic segments, or else of objects, or else of classes,
each in 0 to 1 (docs/pictures.md).
"""

import argparse
import csv
import sys
from pathlib import Path

from mmengine.config import DictAction

from mmmaskdino.progress import Progress
from mmmaskdino.visualization import draw_comparison, draw_contact_sheet
from mmmaskdino.visualization.image_quality import KINDS, comparable_kind, image_quality
from mmmaskdino.visualization.predicted_dataset import PredictedDataset, write_picture


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or its name in the model zoo')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('out_dir', help='folder for pictures, contact_sheet.png and quality.csv')
    parser.add_argument('--num', type=int, default=8, help='number of pictures (default: %(default)s)')
    parser.add_argument('--max-images', type=int, help='look at the first images only; default: all')
    parser.add_argument(
        '--kind', choices=KINDS, help='what to sort by; default: the first that is annotated and predicted'
    )
    parser.add_argument('--score-thr', type=float, default=0.3, help='lowest score of an object (default: %(default)s)')
    parser.add_argument('--device', help='cpu, cuda or the number of a GPU; default: the first GPU, or else the CPU')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value changes of the config')
    return parser.parse_args()


def draw_worst(args: argparse.Namespace) -> Path:
    """Sort the images, draw the worst, and return the path of the contact sheet."""
    if args.num < 1 or (args.max_images is not None and args.max_images < 1):
        raise ValueError(f'expected --num and --max-images of at least 1, got {args.num} and {args.max_images}')
    dataset = PredictedDataset.from_files(args.config, args.checkpoint, args.device, args.cfg_options)
    out_dir = Path(args.out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    ranking = rank(dataset, args)
    with open(out_dir / 'quality.csv', 'w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows([('quality', 'index', 'image'), *ranking])
    pictures = []
    # Predicted again: results of a whole dataset would fill the memory.
    for place, (quality, index, name) in enumerate(ranking[: args.num], start=1):
        image, sample = dataset[index]
        title = f'{quality:.3f} {Path(name).name}'
        pictures.append(draw_comparison(image, sample, dataset.metainfo, title, score_thr=args.score_thr))
        write_picture(out_dir / f'{place:03d}_{Path(name).stem}.png', pictures[-1])
    sheet = out_dir / 'contact_sheet.png'
    write_picture(sheet, draw_contact_sheet(pictures))
    return sheet


def rank(dataset: PredictedDataset, args: argparse.Namespace) -> list[tuple[float, int, str]]:
    """Quality, index and path of the images, worst first."""
    num_classes, ranking, kind = len(dataset.metainfo['classes']), [], args.kind
    for index in Progress(range(min(args.max_images or len(dataset), len(dataset))), unit='image'):
        sample = dataset[index][1]
        kind = kind or comparable_kind(sample)
        ranking.append((round(image_quality(sample, kind, num_classes, args.score_thr), 4), index, sample.img_path))
    return sorted(ranking)


def main() -> None:
    try:
        sheet = draw_worst(parse_args())
    except (ValueError, OSError) as error:
        sys.exit(f'worst_results.py: {error}')
    print(f'pictures in {sheet.parent}, all of them in {sheet}')


if __name__ == '__main__':
    main()
