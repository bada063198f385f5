import pytest
import torch
from measuring import models, training_memory
from measuring.training_memory import TrainingMemory, stored_bytes

from mmmaskdino.apis.data.config_text import R50_MEMORY

CONFIG = 'configs/maskdino/maskdino_r18_shapes_panoptic.py'
CASE = models.Case(training=True, size=(64, 64))


@pytest.fixture
def subject(project_root):
    return lambda **options: models.Subject(
        models.build_model(str(project_root / CONFIG), {f'model.{key}': value for key, value in options.items()})
    )


def test_stored_bytes_of_known_operations():
    layer = torch.nn.Linear(4, 8)

    class Known:
        model = layer

        def loss(self, case):
            x = torch.randn(10, 4)
            return (layer(x).relu() ** 2).sum()  # keeps x, the result of relu and nothing else; not the weight

    assert stored_bytes(Known(), CASE, half=False) == 4 * (10 * 4 + 10 * 8)


def test_checkpointing_stores_less(subject):
    stored = stored_bytes(subject(), CASE, half=False)
    checkpointed = {'panoptic_head.pixel_decoder.with_cp': True, 'panoptic_head.decoder.with_cp': True}
    assert stored_bytes(subject(**checkpointed), CASE, half=False) < stored


@pytest.mark.parametrize('half', [False, True])
def test_other_sizes_and_batches_are_predicted(subject, project_root, monkeypatch, half):
    monkeypatch.setattr(training_memory, 'SMALL', (64, 64))
    monkeypatch.setattr(training_memory, 'LARGE', (128, 128))
    memory = training_memory.training_memory(str(project_root / CONFIG), half=half)
    trained = sum(p.numel() for p in subject().model.parameters() if p.requires_grad)
    half_copies = memory.fixed - 16 * trained
    assert half_copies == pytest.approx(2 * trained if half else 0, abs=0.2 * trained)
    measured = stored_bytes(subject(), CASE._replace(size=(96, 96), bs=3), half)
    assert 3 * memory.of_image((96, 96)) == pytest.approx(measured - half_copies, rel=0.05)


def test_largest_batch():
    memory = TrainingMemory(fixed=2**30, per_image=2**29, per_pixel=2**9)
    size = (1024, 1024)
    assert memory.of_image(size) == 2**30
    assert memory.largest_batch(2, size) == 0
    assert memory.largest_batch(24, size) == 19  # 21.6 GiB of it, 1 for the parameters, 1.5 for temporaries


@pytest.mark.slow
def test_the_rule_for_written_configs_is_what_is_measured(project_root):
    memory = training_memory.training_memory(str(project_root / 'configs/maskdino/maskdino_r50_coco_instance.py'))
    assert R50_MEMORY.fixed == pytest.approx(memory.fixed, rel=0.03)
    for size in ((512, 512), (1024, 1024), (800, 1333)):
        assert R50_MEMORY.of_image(size) == pytest.approx(memory.of_image(size), rel=0.03)
