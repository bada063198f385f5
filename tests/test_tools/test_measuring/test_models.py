"""The counts that the project promises, of the full model: they do not depend on the machine."""

import pytest
import torch
from measuring.measure import panoptic_waits
from measuring.models import PEERS, TRAINING, Case, Subject, build_model, interleaved, load_config
from mmengine.utils import digit_version

SMALL = Case(training=True, size=(64, 64))


@pytest.fixture(scope='module')
def config(project_root):
    return project_root / 'configs/maskdino/maskdino_r50_coco_instance.py'


# The aim (AIMS of measuring.report) is 9400, which docs/performance.md says is missed; more than this is new.
MOST_OPERATIONS = 10500


def test_training_step_has_few_operations_and_waits_once(config):
    """Once, for the matching costs, whatever the number of images, objects and layers."""
    counter = Subject(build_model(str(config))).count(TRAINING._replace(size=(64, 64)))
    # Older versions of torch count 800 views more, and their attention is not one operation.
    slack = 1 if digit_version(torch.__version__) >= digit_version('2.4') else 1.1
    assert sum(counter.operations.values()) <= slack * MOST_OPERATIONS
    assert +counter.waits == {'cpu': 1}


@pytest.mark.parametrize('num_segments', [3, 100])
def test_panoptic_results_wait_once_whatever_the_number_of_segments(num_segments):
    assert panoptic_waits(num_segments) == 1


def test_parts_of_a_step_and_of_an_inference(project_root):
    config = project_root / 'configs/maskdino/maskdino_r18_shapes_instance.py'
    subject = Subject(build_model(str(config), {'model.panoptic_head.decoder.num_layers': 1}))
    assert set(subject.run(SMALL)) == {'forward', 'matching', 'loss', 'backward'}
    assert set(subject.run(SMALL._replace(training=False))) == {'forward', 'results'}
    times = interleaved(dict(one=subject, two=subject), SMALL, rounds=2)
    assert [len(times[name]) for name in ('one', 'two')] == [2, 2]


@pytest.mark.parametrize('name', PEERS)
def test_peers_are_there(name):
    assert load_config(name).model.type in ('DINO', 'Mask2Former', 'MaskRCNN')


def test_unknown_model_is_rejected():
    with pytest.raises(ValueError, match='config file YOLO does not exist'):
        load_config('YOLO')
