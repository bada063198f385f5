import warnings

import cv2
import pytest
from measuring.report import AIMS, DINO_THERE, REFERENCE, compare, format_aims, format_figures, plot

OURS = 'some/where/configs/maskdino/maskdino_r50_coco_instance.py'


def figures_of(seconds, **more):
    cases = {}
    for case in ('inference', 'training', 'crowded'):
        cases[case] = dict(total=seconds, least=seconds, most=seconds, parts=dict(forward=seconds))
    memory = dict(model=1000.0, peak=1000.0 + REFERENCE['memory'])
    return dict(**cases, memory=memory, operations=9000, waits=1, gflop=200.0, **more)


@pytest.fixture
def figures():
    return {OURS: figures_of(2.0, panoptic_waits=1), 'DINO': figures_of(4.0)}


def test_seconds_are_compared_with_the_reference_through_dino(figures):
    found = compare(figures, OURS)
    assert set(found) == set(AIMS)
    assert found['inference / DINO'] == 0.5
    assert found['training / reference'] == pytest.approx(0.5 * DINO_THERE['training'] / REFERENCE['training'])
    assert found['memory / reference'] == pytest.approx(1)
    assert found['100 objects / 5 objects'] == 1


def test_missed_aims_are_marked(figures):
    missed = [line for line in format_aims(compare(figures, OURS)).splitlines() if line.endswith('missed')]
    assert len(missed) == 1 and missed[0].startswith('memory / reference')
    assert '9000 operations, the CPU waits 1 times' in format_figures(figures)


def test_plot_has_room_for_its_bars(figures, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # matplotlib warns when nothing is left for the axes
        plot(figures, tmp_path / 'plot.png')
    picture = cv2.imread(str(tmp_path / 'plot.png'))
    bars = (picture != picture[0, 0]).any(-1) & (abs(picture.astype(int) - (180, 119, 31)).sum(-1) < 10)  # C0, as BGR
    assert bars.mean() > 0.1
