"""Draw ground truth beside prediction for the first images of a config's test dataset."""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose, LoadImageFromFile
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs
from mmdet.structures import DetDataSample
from mmengine.config import Config, DictAction
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from mmengine.structures import BaseDataElement
from mmengine.utils import track_iter_progress

import mmmaskdino  # noqa: F401  registers the model
from mmmaskdino.datasets import LoadCocoPanopticAnnotations
from mmmaskdino.visualization import draw_comparison, draw_contact_sheet, panoptic_ground_truth


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('out_dir', help='folder for one PNG per image, and contact_sheet.png with all of them')
    parser.add_argument('--num', type=int, default=8, help='number of images (default: %(default)s)')
    parser.add_argument('--scale', type=float, help='factor to enlarge the images; small ones are enlarged by default')
    parser.add_argument('--score-thr', type=float, default=0.3, help='lowest score of an object (default: %(default)s)')
    parser.add_argument(
        '--device', default='cuda:0' if torch.cuda.is_available() else 'cpu', help='default: %(default)s'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value changes of the config')
    return parser.parse_args()


def build_model(config: Config, checkpoint: str, device: str) -> BaseModel:
    """The trained model of mmdet or mmseg, for prediction."""
    model = MODELS.build(config.model)
    load_checkpoint(model, checkpoint, map_location='cpu')
    return model.to(device).eval()


def load_ground_truth(dataset: BaseDataset, index: int) -> tuple[np.ndarray, BaseDataElement]:
    """The image, (h, w, 3) uint8 RGB, and its annotations in its own size, whatever the test pipeline does to them."""
    data_info = dataset.get_data_info(index)
    is_semantic = 'reduce_zero_label' in data_info
    packed = (load_label_map if is_semantic else load_objects)(dataset, data_info)
    return packed['inputs'].permute(1, 2, 0).numpy()[..., ::-1], packed['data_samples']


def load_label_map(dataset: BaseDataset, data_info: dict) -> dict:
    """The image and label map of a dataset of mmseg."""
    from mmseg.datasets.transforms import PackSegInputs

    from mmmaskdino.datasets import LoadCheckedSegMap

    backend_args = dataset.backend_args
    steps = [LoadImageFromFile(backend_args=backend_args), LoadCheckedSegMap(backend_args=backend_args)]
    return Compose([*steps, PackSegInputs()])(data_info)


def load_objects(dataset: BaseDataset, data_info: dict) -> dict:
    """The image, objects and segments of a dataset of mmdet."""
    backend_args = dataset.backend_args
    is_panoptic = bool(data_info.get('seg_map_path'))
    if is_panoptic:
        load_annotations = LoadCocoPanopticAnnotations(backend_args=backend_args)
    else:
        with_mask = all('mask' in instance for instance in data_info['instances'])
        load_annotations = LoadAnnotations(with_bbox=True, with_mask=with_mask, backend_args=backend_args)
    load = Compose([LoadImageFromFile(backend_args=backend_args), load_annotations, PackDetInputs()])
    packed = load(data_info)
    if is_panoptic:
        data_sample: DetDataSample = packed['data_samples']
        data_sample.gt_panoptic_seg = panoptic_ground_truth(data_sample, len(dataset.metainfo['classes']))
    return packed


def draw(args: argparse.Namespace) -> Path:
    """Draw the images and return the path of the contact sheet."""
    if args.num < 1:
        raise ValueError(f'expected --num of at least 1, got {args.num}')
    config = Config.fromfile(args.config)
    config.merge_from_dict(args.cfg_options or {})
    init_default_scope(config.get('default_scope', 'mmdet'))
    dataset = DATASETS.build(config.test_dataloader.dataset)
    model = build_model(config, args.checkpoint, args.device)

    out_dir = Path(args.out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    pictures = []
    for index in track_iter_progress(range(min(args.num, len(dataset)))):
        image, data_sample = load_ground_truth(dataset, index)
        with torch.no_grad():
            prediction = model.test_step(pseudo_collate([dataset[index]]))[0]
        for key in ('pred_instances', 'pred_panoptic_seg', 'pred_sem_seg'):
            if key in prediction:
                data_sample.set_data({key: prediction.get(key)})
        path = Path(data_sample.img_path)
        picture = draw_comparison(image, data_sample, dataset.metainfo, path.name, args.scale, args.score_thr)
        write_picture(out_dir / f'{index:04d}_{path.stem}.png', picture)
        pictures.append(picture)
    sheet = out_dir / 'contact_sheet.png'
    write_picture(sheet, draw_contact_sheet(pictures))
    return sheet


def write_picture(path: Path, rgb: np.ndarray) -> None:
    """Write an RGB picture; a full disk or a missing folder raises OSError."""
    path.write_bytes(cv2.imencode('.png', rgb[..., ::-1])[1])


def main() -> None:
    args = parse_args()
    try:
        sheet = draw(args)
    except (ValueError, OSError) as error:
        sys.exit(f'draw_results.py: {error}')
    print(f'\npictures in {sheet.parent}, all of them in {sheet}')


if __name__ == '__main__':
    main()
