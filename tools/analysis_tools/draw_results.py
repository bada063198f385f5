"""Draw ground truth beside prediction for the first images of a config's test dataset."""

import argparse
import sys
from pathlib import Path

from mmengine.config import DictAction

from mmmaskdino.progress import Progress
from mmmaskdino.visualization import draw_comparison, draw_contact_sheet
from mmmaskdino.visualization.predicted_dataset import PredictedDataset, write_picture


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, or its name in the model zoo')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('out_dir', help='folder for one PNG per image, and contact_sheet.png with all of them')
    parser.add_argument('--num', type=int, default=8, help='number of images (default: %(default)s)')
    parser.add_argument('--scale', type=float, help='factor to enlarge the images; small ones are enlarged by default')
    parser.add_argument('--score-thr', type=float, default=0.3, help='lowest score of an object (default: %(default)s)')
    parser.add_argument('--device', help='cpu, cuda or the number of a GPU; default: the first GPU, or else the CPU')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value changes of the config')
    return parser.parse_args()


def draw(args: argparse.Namespace) -> Path:
    """Draw the images and return the path of the contact sheet."""
    if args.num < 1:
        raise ValueError(f'expected --num of at least 1, got {args.num}')
    dataset = PredictedDataset.from_files(args.config, args.checkpoint, args.device, args.cfg_options)
    out_dir = Path(args.out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    pictures = []
    for index in Progress(range(min(args.num, len(dataset))), unit='image'):
        image, data_sample = dataset[index]
        path = Path(data_sample.img_path)
        picture = draw_comparison(image, data_sample, dataset.metainfo, path.name, args.scale, args.score_thr)
        write_picture(out_dir / f'{index:04d}_{path.stem}.png', picture)
        pictures.append(picture)
    sheet = out_dir / 'contact_sheet.png'
    write_picture(sheet, draw_contact_sheet(pictures))
    return sheet


def main() -> None:
    args = parse_args()
    try:
        sheet = draw(args)
    except (ValueError, OSError) as error:
        sys.exit(f'draw_results.py: {error}')
    print(f'pictures in {sheet.parent}, all of them in {sheet}')


if __name__ == '__main__':
    main()
