import pickle

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import encode_mask_results
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

from mmmaskdino.evaluation import DumpedResults

MASKS = np.zeros((2, 6, 8), bool)
MASKS[0, 1:3, 2:5] = MASKS[1, 4:, :] = True


@pytest.mark.parametrize('masks', [torch.from_numpy(MASKS), encode_mask_results(MASKS), None])
def test_masks_of_any_form_are_written_as_codes(masks, tmp_path):
    instances = InstanceData(scores=torch.tensor([0.9, 0.8]))
    if masks is not None:
        instances.masks = masks
    samples = [DetDataSample(gt_instances=InstanceData(), pred_instances=x).to_dict() for x in (instances, instances)]
    path = tmp_path / 'all.pkl'
    metric = DumpedResults(out_file_path=str(path))
    for sample in samples:  # two batches
        metric.process({}, [sample])
    metric.evaluate(2)
    written = pickle.loads(path.read_bytes())
    assert len(written) == 2
    for sample in written:
        assert 'gt_instances' not in sample and len(sample['pred_instances']['scores']) == 2
        if masks is None:
            assert 'masks' not in sample['pred_instances']
        else:
            decoded = [coco_mask.decode(code) for code in sample['pred_instances']['masks']]
            assert np.array_equal(np.stack(decoded).astype(bool), MASKS)
    if isinstance(masks, list):
        assert samples[0]['pred_instances']['masks'] is masks  # other metrics read it, too
