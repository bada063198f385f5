"""Evaluate saved panoptic results in COCO's format: PQ, SQ and RQ of all, things, stuff and each class."""

import argparse
import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mmmaskdino.datasets.files import DataError
from mmmaskdino.evaluation.panoptic_files import PanopticFiles, read_categories
from mmmaskdino.evaluation.panoptic_quality import PanopticQuality, count_matches
from mmmaskdino.evaluation.panoptic_table import format_table
from mmmaskdino.progress import Progress


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('gt_json', help='panoptic annotations')
    parser.add_argument('gt_folder', help='folder of their PNGs')
    parser.add_argument('pred_json', help="results: a json with 'annotations' as in the ground truth")
    parser.add_argument('pred_folder', help='folder of their PNGs')
    parser.add_argument('--out', metavar='FILE.json', help='write the qualities (0 to 1) to this file')
    return parser.parse_args()


def evaluate(args: argparse.Namespace, categories: list[dict]) -> PanopticQuality:
    """Match all images of the ground truth; classes are numbered in the order of the categories."""
    labels = {category['id']: label for label, category in enumerate(categories)}
    gt = PanopticFiles(args.gt_json, args.gt_folder, labels)
    pred = PanopticFiles(args.pred_json, args.pred_folder, labels)
    if not gt.annotations:
        raise DataError(f'{args.gt_json}: there are no annotations')
    surplus = pred.annotations.keys() - gt.annotations.keys()
    if surplus:
        print(f'{args.pred_json}: {len(surplus)} images are not in the ground truth and not evaluated')

    quality = PanopticQuality(len(categories))
    with ThreadPoolExecutor() as pool:
        matches = pool.map(lambda i: count_matches(gt.load(i), pred.load(i), len(categories)), gt.annotations)
        for counts in Progress(matches, total=len(gt.annotations), unit='image'):
            quality.add(counts)
    return quality


def report(quality: PanopticQuality, categories: list[dict]) -> dict:
    """All numbers in the layout of the public evaluation: fractions, 'n' classes averaged, category ids as keys."""
    is_thing = np.array([category['isthing'] for category in categories], bool)
    groups = dict(All=np.ones_like(is_thing), Things=is_thing, Stuff=~is_thing)
    values = quality.per_class()
    per_class = {
        str(category['id']): {k: float(values[k][label]) for k in ('pq', 'sq', 'rq')}
        for label, category in enumerate(categories)
    }
    averages = {name: quality.average(classes) for name, classes in groups.items()}
    for average in averages.values():
        average.update({k: None for k, v in average.items() if math.isnan(v)})  # json has no nan
    return dict(All=averages['All'], per_class=per_class, Things=averages['Things'], Stuff=averages['Stuff'])


def main() -> None:
    args = parse_args()
    try:
        categories = read_categories(args.gt_json)
        quality = evaluate(args, categories)
        is_thing = np.array([category['isthing'] for category in categories], bool)
        print(format_table(quality, is_thing, [category['name'] for category in categories]))
        if args.out:
            Path(args.out).write_text(json.dumps(report(quality, categories), indent=1))
    except (DataError, OSError) as error:
        sys.exit(f'panoptic_quality.py: {error}')


if __name__ == '__main__':
    main()
