"""bfloat16 autocast: everything between the float32 islands may be half, results stay close."""

import pytest
import torch


@pytest.fixture
def model(small_config, make_model):
    return make_model(small_config('maskdino_r50_coco_panoptic'))


def losses_of(model, data, half):
    torch.manual_seed(1)  # the same points and noise
    model.zero_grad()
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=half):
        losses = model.loss(data['inputs'], data['data_samples'])
    sum(losses.values()).backward()
    return losses


def test_losses_are_float32_and_close(model, make_batch):
    model.train()
    data = model.data_preprocessor(make_batch((3, 0), num_things=80, num_stuff=53), training=True)
    exact, half = (losses_of(model, data, flag) for flag in (False, True))
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.requires_grad)
    assert {loss.dtype for loss in half.values()} == {torch.float32}
    assert float(sum(half.values())) == pytest.approx(float(sum(exact.values())), rel=0.05)


def test_predictions_are_finite(model, make_batch):
    model.eval()
    data = model.data_preprocessor(make_batch((3, 0), num_things=80, num_stuff=53))
    with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16):
        results = model.predict(data['inputs'], data['data_samples'])
    for result in results:
        assert result.pred_instances.scores.isfinite().all()
        assert result.pred_instances.bboxes.isfinite().all()
