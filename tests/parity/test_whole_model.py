"""The recorded run of the whole reference model, from images to results and through one training step."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict

from mmmaskdino.converters import convert_model

sys.path.insert(0, str(Path(__file__).resolve().parent))
import adapter  # noqa: E402


@pytest.fixture(scope='module')
def recorded(shared_golden):
    return torch.load(shared_golden / 'e2e.pt', weights_only=True)


@pytest.fixture
def model(recorded, shared_golden, mmdet_scope):
    recorded_hyper = recorded['meta']['hyper']
    hyper = dict(
        recorded_hyper,
        backbone_channels=dict(res2=8, res3=16, res4=32, res5=64),
        transformer_in_features=['res3', 'res4', 'res5'],
        dec_heads=8,
        n_points=4,
        two_stage=True,
        semantic_ce_loss=False,
        dn_noise_scale=0.4,
    )
    head = adapter.head_config(hyper)
    head['mask_padding'] = False  # the reference attends to padding
    config = dict(
        type='MaskDINO',
        data_preprocessor=dict(
            type='DetDataPreprocessor',
            mean=recorded_hyper['pixel_mean'],
            std=recorded_hyper['pixel_std'],
            pad_size_divisor=32,
        ),
        backbone=dict(
            type='ResNet',
            depth=50,
            stem_channels=4,
            base_channels=2,
            norm_cfg=dict(type='LeanBatchNorm', requires_grad=False),
        ),
        panoptic_head=head,
        panoptic_fusion_head=dict(type='MaskDINOFusionHead'),
        test_cfg=dict(max_per_image=recorded_hyper['topk']),
    )
    model = MODELS.build(ConfigDict(config))
    stored = np.load(shared_golden / recorded['meta']['weights'])
    model.load_state_dict(convert_model({key: torch.from_numpy(stored[key]) for key in stored.files}).tensors)
    return model.eval()


def batch(recorded, model):
    samples = []
    for image, original in zip(recorded['images'], recorded['original_sizes'], strict=True):
        meta = dict(img_shape=tuple(image.shape[-2:]), ori_shape=tuple(original), scale_factor=(1.0, 1.0))
        samples.append(DetDataSample(metainfo=meta))
    data = dict(inputs=list(recorded['images']), data_samples=samples)
    return model.data_preprocessor(data)


def test_images_to_results(recorded, model):
    results = model.predict(*batch(recorded, model).values())
    for result, wanted in zip(results, recorded['results'], strict=True):
        wanted, got = wanted['instances'], result.pred_instances
        order = wanted['scores'].argsort(descending=True)
        torch.testing.assert_close(got.scores, wanted['scores'][order], atol=1e-4, rtol=1e-4)
        assert torch.equal(got.labels, wanted['pred_classes'][order])
        torch.testing.assert_close(got.bboxes, wanted['pred_boxes'][order], atol=1e-2, rtol=1e-4)
        assert (got.masks != wanted['pred_masks'][order]).float().mean() < 1e-3


def test_backbone_maps(recorded, model):
    features = model.extract_feat(batch(recorded, model)['inputs'])
    for got, wanted in zip(features, recorded['features'].values(), strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


def test_training_step(recorded, model):
    features = model.extract_feat(batch(recorded, model)['inputs'])
    features = dict(zip(recorded['features'], features, strict=True))
    targets = [
        dict(t, is_thing=torch.ones_like(t['labels'], dtype=torch.bool)) for t in recorded['train']['targets_prepared']
    ]
    options = dict(denoising=True, decouple_stuff=False)
    got = adapter.loss(model.panoptic_head, features, targets, recorded['train']['random'], options)
    assert got['total'] == pytest.approx(float(recorded['train']['total']), rel=1e-4)
