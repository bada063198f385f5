import pytest

from mmmaskdino.models.segmentors.windows import WindowSettings, window_starts


@pytest.mark.parametrize('length', [1, 5, 8, 9, 12, 16, 17])
@pytest.mark.parametrize(('window', 'stride'), [(8, 4), (8, 8), (8, 3), (1, 1)])
def test_windows_cover_everything_and_stay_inside(length, window, stride):
    starts = window_starts(length, window, stride)
    covered = {pixel for start in starts for pixel in range(start, start + min(window, length))}
    assert covered == set(range(length))
    assert starts == sorted(set(starts))
    assert len(starts) == max(length - window + stride - 1, 0) // stride + 1  # as many as mmseg's


def test_settings():
    assert WindowSettings.from_config(None) is None
    assert WindowSettings.from_config(dict(mode='whole')) is None
    assert WindowSettings.from_config(dict(mode='slide', crop_size=[8, 9], stride=(4, 5))) == ((8, 9), (4, 5))


@pytest.mark.parametrize(
    ('test_cfg', 'message'),
    [
        (dict(mode='tile'), "'whole' or 'slide', got 'tile'"),
        (dict(mode='whole', crop_size=(8, 8)), 'crop_size'),
        (dict(mode='slide', crop_size=(8, 8)), "'stride'"),
        (dict(mode='slide', crop_size=(8, 8), stride=(4, 4), window=3), "'window'"),
        (dict(mode='slide', crop_size=(8, 8), stride=(9, 4)), 'leave gaps'),
        (dict(mode='slide', crop_size=(8, 8), stride=(4, 0)), 'leave gaps'),
    ],
)
def test_rejected_settings(test_cfg, message):
    with pytest.raises(ValueError, match=message):
        WindowSettings.from_config(test_cfg)
