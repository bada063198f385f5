"""What the page shows: pictures, rows, thresholds that apply, errors for people."""

import numpy as np
import pytest
from PIL import Image

from mmmaskdino.datasets.files import DataError
from mmmaskdino.page.viewer import Thresholds, Viewer

ALL = Thresholds(score_thr=0.0, object_mask_thr=0.0, overlap_thr=0.0)
MARGINS = (0.0, 1.0, None)


def test_views_are_what_the_model_gives(viewer, make_predictor):
    assert viewer.views == ['panoptic', 'boxes and masks', 'boxes', 'semantic']
    assert viewer.thresholds == Thresholds(0.3, 100, 0.25, 0.8, 0.1)
    semantic = Viewer(make_predictor('maskdino_r18_shapes_semantic'))
    assert semantic.views == ['semantic'] and semantic.thresholds is None
    assert Viewer(make_predictor('maskdino_r18_shapes_detection')).views == ['boxes']


@pytest.mark.parametrize('view', ['panoptic', 'boxes and masks', 'boxes', 'semantic'])
def test_view(viewer, photo, view):
    picture, rows = viewer.show(photo, view, ALL)
    pixels = np.asarray(Image.open(photo))
    assert picture.shape == pixels.shape and picture.dtype == np.uint8
    assert not np.array_equal(picture, pixels)
    assert rows and all(name in viewer._classes and 0 <= share <= 100 for name, _, share in rows)
    if 'boxes' in view:
        scores = [score for _, score, _ in rows]
        assert scores == sorted(scores, reverse=True) and 0 < scores[0] < 1
    else:
        shares = [share for *_, share in rows]
        assert shares == sorted(shares, reverse=True) and sum(shares) <= 100.5


def test_boxes_alone_differ_from_boxes_and_masks(viewer, photo):
    assert not np.array_equal(
        viewer.show(photo, 'boxes', ALL).picture, viewer.show(photo, 'boxes and masks', ALL).picture
    )


def test_thresholds_apply(viewer, photo):
    assert len(viewer.show(photo, 'boxes', ALL._replace(max_per_image=7)).rows) == 7
    scores = [score for _, score, _ in viewer.show(photo, 'boxes', ALL).rows]
    fewer = viewer.show(photo, 'boxes', ALL._replace(score_thr=scores[4] + 1e-3)).rows
    assert 0 < len(fewer) < 5
    assert viewer.show(photo, 'panoptic', ALL._replace(object_mask_thr=1.0)).rows == []
    shares = [
        [row[2] for row in viewer.show(photo, 'boxes and masks', ALL._replace(box_margin=x)).rows] for x in MARGINS
    ]
    assert sum(shares[0]) < sum(shares[1]) < sum(shares[2])


def test_settings_of_the_model_stay(viewer, photo):
    settings = viewer._predictor.model.panoptic_fusion_head.settings
    viewer.show(photo, 'boxes', ALL)
    with pytest.raises(ValueError, match='score_thr'):
        viewer.show(photo, 'boxes', ALL._replace(score_thr=2.0))
    assert viewer._predictor.model.panoptic_fusion_head.settings == settings


def test_errors(viewer, no_image, tmp_path):
    with pytest.raises(DataError, match='not an image'):
        viewer.show(no_image, 'panoptic')
    large = tmp_path / 'large.png'
    Image.new('RGB', (500, 400)).save(large)
    with pytest.raises(DataError, match='0.2 megapixels, and the limit is 0.1'):
        viewer.show(large, 'panoptic')
    with pytest.raises(ValueError, match='no depth'):
        viewer.show(large, 'depth')
