import numpy as np

from mmmaskdino.evaluation import MatchCounts, PanopticQuality
from mmmaskdino.evaluation.panoptic_table import format_table


def test_numbers_and_gaps():
    quality = PanopticQuality(2)
    quality.add(MatchCounts(np.array([0]), np.array([[1.5, 2, 0, 2]])))
    is_thing = np.array([True, False])
    lines = format_table(quality, is_thing, ['cat', 'sky']).splitlines()
    assert [line.split() for line in lines] == [
        ['PQ', 'SQ', 'RQ'],
        ['all', '50.00', '75.00', '66.67', '1', 'classes'],
        ['things', '50.00', '75.00', '66.67', '1', 'classes'],
        ['stuff', '-', '-', '-', '0', 'classes'],
        ['cat', '50.00', '75.00', '66.67', 'thing'],
        ['sky', '-', '-', '-', 'stuff'],
    ]
    assert len(format_table(quality, is_thing).splitlines()) == 4
