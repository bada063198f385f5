"""Each image counts exactly once, however the images are shared out."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import mask2bbox
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData

from mmmaskdino.apis import prepare_launcher, process_group
from mmmaskdino.datasets import read_panoptic_png
from mmmaskdino.datasets.shapes import METAINFO, make_shapes_dataset

pytestmark = pytest.mark.slow
NUM_IMAGES = 7  # shared out unevenly to two and to three
NUM_THINGS = len(METAINFO['thing_classes'])


@MODELS.register_module()
class ShiftedTruth(BaseModel):
    """Predicts the ground truth, shifted by some pixels that depend on the image."""

    def __init__(self, root: str) -> None:
        super().__init__()
        self.parameter = torch.nn.Parameter(torch.zeros(1))  # DistributedDataParallel wants one
        content = json.loads((Path(root) / 'annotations/panoptic_val.json').read_text())
        labels = {category['id']: label for label, category in enumerate(content['categories'])}
        self.root = Path(root)
        self.entries = {
            entry['image_id']: (entry['file_name'], {s['id']: labels[s['category_id']] for s in entry['segments_info']})
            for entry in content['annotations']
        }

    def forward(self, inputs: list, data_samples: list[DetDataSample], mode: str) -> list[DetDataSample]:
        return [self.predict(sample) for sample in data_samples]

    def predict(self, sample: DetDataSample) -> DetDataSample:
        file_name, labels = self.entries[sample.img_id]
        ids = read_panoptic_png(str(self.root / 'annotations/panoptic_val' / file_name))
        ids = torch.from_numpy(np.roll(ids, sample.img_id % 5, axis=1))
        masks = torch.stack([ids == segment for segment in labels])
        classes = torch.tensor(list(labels.values()))
        things = classes < NUM_THINGS
        scores = torch.linspace(0.9, 0.3, len(labels)) - sample.img_id % 3 / 10
        sample.pred_instances = InstanceData(
            masks=masks[things], labels=classes[things], scores=scores[things], bboxes=mask2bbox(masks[things])
        )
        numbers = torch.arange(len(labels))
        sample.pred_panoptic_seg = PixelData(
            sem_seg=((classes + 1000 * numbers)[:, None, None] * masks).sum(0, keepdim=True)
        )
        sample.pred_sem_seg = PixelData(sem_seg=(classes[:, None, None] * masks).sum(0, keepdim=True))
        return sample


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes_dataset(tmp_path_factory.mktemp('shapes'), 1, NUM_IMAGES, size=64, progress=False)


def evaluate(cfg: Config, out: Path, environment: dict[str, str]) -> None:
    with process_group():
        os.environ.update(environment)
        if environment:
            prepare_launcher(cfg, 'pytorch')
        runner = Runner.from_cfg(cfg)
        scores = runner.test()
        del runner
    out.write_text(json.dumps({name: float(value) for name, value in scores.items()}))


@pytest.fixture
def scores(project_root: Path, root: Path, tmp_path: Path):
    """The metrics, as each of some processes has them."""

    def _scores(num_ranks: int) -> list[dict[str, float]]:
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = str(free.getsockname()[1])
        processes, files = [], [tmp_path / f'{num_ranks}_{rank}.json' for rank in range(num_ranks)]
        for rank, file in enumerate(files):
            size = str(num_ranks)
            names = dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=size, LOCAL_WORLD_SIZE=size)
            environment = {**names, 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port} if num_ranks > 1 else {}
            arguments = (make_config(project_root, root, tmp_path / size), file, environment)
            processes.append(multiprocessing.get_context('fork').Process(target=evaluate, args=arguments))
            processes[-1].start()
        end = time.monotonic() + 120
        for process in processes:
            process.join(timeout=max(0, end - time.monotonic()))
        assert [process.exitcode for process in processes] == [0] * num_ranks
        return [json.loads(file.read_text()) for file in files]

    return _scores


def make_config(project_root: Path, root: Path, work_dir: Path) -> Config:
    cfg = Config.fromfile(project_root / 'configs' / 'maskdino' / 'maskdino_r18_shapes_panoptic.py')
    unused = ('val_cfg', 'val_dataloader', 'val_evaluator', 'train_cfg', 'train_dataloader', 'optim_wrapper')
    cfg.merge_from_dict(dict.fromkeys((*unused, 'param_scheduler')))
    loader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(data_root=f'{root}/'))
    cfg.merge_from_dict({'test_dataloader': loader, 'work_dir': str(work_dir), 'log_level': 'ERROR'})
    cfg.default_hooks.pop('class_count')  # this model has no head
    cfg.model = dict(type='ShiftedTruth', root=str(root))
    files = dict(ann_file=f'{root}/annotations/panoptic_val.json', seg_prefix=f'{root}/annotations/panoptic_val/')
    cfg.test_evaluator = [
        dict(type='PanopticQualityMetric', **files),
        dict(type='PanopticIoUMetric', **files),
        dict(type='CocoMetric', ann_file=f'{root}/annotations/instances_val.json', metric=['bbox', 'segm']),
    ]
    return cfg


def test_scores_of_one_two_and_three_processes(scores) -> None:
    (expected,) = scores(1)
    assert 0 < expected['coco/segm_mAP'] < 1
    assert any(0 < value < 100 for name, value in expected.items() if 'PQ' in name)
    for num_ranks in (2, 3):
        for got in scores(num_ranks):
            assert got.keys() == expected.keys()
            for name, value in expected.items():
                same = math.isnan(value) and math.isnan(got[name])
                assert same or got[name] == pytest.approx(value, abs=1e-9), f'{num_ranks} processes: {name}'
