import pytest
import torch
import torch.nn.functional as F

from mmmaskdino.models.segmentors.windows import WindowSettings
from mmmaskdino.ops import device

SIZE = (64, 96)


@pytest.fixture
def cfg(small_config):
    return small_config('maskdino_r50_ade20k_semantic')


@pytest.fixture
def model(cfg, make_model):
    return make_model(cfg).eval()


def set_windows(model, crop_size, stride):
    model.windows = WindowSettings(crop_size, stride)


def predict(model, batch):
    with torch.no_grad():
        return [r.pred_sem_seg.data for r in model.test_step(batch)]


def class_maps(model, image, size=None):
    """(num_classes, h, w) of one image (3, h, w), as the segmentor compares them."""
    size = size or tuple(image.shape[-2:])
    with torch.no_grad():
        strips = (model._whole if model.windows is None else model._slide)(image[None], [size])
        return torch.cat(list(next(iter(strips))), 1)


@pytest.mark.parametrize('size', [SIZE, (61, 95), (30, 97)])
@pytest.mark.parametrize('output', [None, (120, 83)])
def test_one_window_is_the_whole_image(model, size, output):
    image = torch.randn(3, *size)
    whole = class_maps(model, image, output)
    for crop in (size, (200, 300)):
        set_windows(model, crop, crop)
        torch.testing.assert_close(class_maps(model, image, output), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('size', [(61, 95), (64, 96), (33, 64)])
@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_padded_twin(model, make_seg_batch, size, mode):
    """Whatever the data preprocessor pads."""
    if mode == 'slide':
        set_windows(model, (48, 64), (32, 32))
    batch = make_seg_batch([size])
    plain = predict(model, dict(batch))
    for padding in (dict(size_divisor=32), dict(size=(160, 192))):
        model.data_preprocessor.test_cfg = padding
        (padded,) = predict(model, dict(batch))
        assert padded.shape == plain[0].shape == (1, *size)
        assert (padded != plain[0]).float().mean() < 1e-3


def test_padding_is_masked(model):
    """The maps of an odd size do not depend on what lies in the padding up to the multiple of 32."""
    image = torch.randn(1, 3, 50, 70)
    features = model.extract_feat(F.pad(image, (0, 26, 0, 14)))
    maps = model.decode_head.class_maps(features, (64, 96), (50, 70))
    assert maps.shape == (1, 150, 50, 70)
    torch.testing.assert_close(maps[0], class_maps(model, image[0]), rtol=1e-4, atol=1e-4)


def test_windows_are_averaged(model):
    image = torch.randn(3, 64, 160)
    whole_left, whole_right = (class_maps(model, part) for part in (image[..., :96], image[..., 64:]))
    set_windows(model, (64, 96), (64, 64))
    maps = class_maps(model, image)
    torch.testing.assert_close(maps[..., :64], whole_left[..., :64], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(maps[..., 96:], whole_right[..., 32:], rtol=1e-5, atol=1e-5)
    both = (whole_left[..., 64:] + whole_right[..., :32]) / 2
    torch.testing.assert_close(maps[..., 64:96], both, rtol=1e-5, atol=1e-5)


def test_windows_as_mmsegs(cfg, make_model, make_seg_batch):
    """Sizes at which mmseg's EncoderDecoder needs no padding."""
    cfg.model.test_cfg = dict(mode='slide', crop_size=(32, 64), stride=(16, 48))
    ours = make_model(cfg).eval()
    cfg.model.type = 'EncoderDecoder'
    theirs = make_model(cfg).eval()
    theirs.load_state_dict(ours.state_dict())
    batch = make_seg_batch([(96, 160)])
    with torch.no_grad():
        expected = theirs.test_step(dict(batch))[0].pred_sem_seg.data
    (got,) = predict(ours, dict(batch))
    assert (got != expected).float().mean() < 1e-3


@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_original_size_and_batch(model, make_seg_batch, mode):
    """Images of one network size have the results they have alone, each in its own original size."""
    if mode == 'slide':
        set_windows(model, (48, 64), (32, 32))
    batch = make_seg_batch([SIZE, SIZE])
    sizes = [(70, 100), (200, 51)]
    for sample, size in zip(batch['data_samples'], sizes, strict=True):
        sample.set_metainfo(dict(ori_shape=size))
    together = predict(model, dict(batch))
    assert [tuple(t.shape) for t in together] == [(1, *size) for size in sizes]
    for i, labels in enumerate(together):
        (alone,) = predict(model, {key: value[i : i + 1] for key, value in batch.items()})
        assert (labels != alone).float().mean() < 1e-3


@pytest.mark.parametrize(('direction', 'axis'), [('horizontal', -1), ('vertical', -2)])
def test_flipped_images_are_flipped_back(model, make_seg_batch, direction, axis):
    batch = make_seg_batch([SIZE])
    (plain,) = predict(model, dict(batch))
    batch['data_samples'][0].set_metainfo(dict(flip=True, flip_direction=direction))
    (flipped,) = predict(model, dict(batch))
    assert torch.equal(flipped, plain.flip(axis))


def test_different_paddings_in_a_batch_are_rejected(model, make_seg_batch):
    batch = model.data_preprocessor(make_seg_batch([SIZE, SIZE]))
    batch['data_samples'][1].set_metainfo(dict(img_padding_size=(0, 4, 0, 0)))
    with pytest.raises(ValueError, match='test_dataloader.batch_size=1'):
        model.predict(**batch)


def test_prediction_without_samples(model):
    (result,) = model.predict(torch.randn(1, 3, 50, 60))
    assert result.pred_sem_seg.data.shape == (1, 50, 60)


@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_no_map_of_all_classes_is_ever_whole(model, mode, monkeypatch):
    """Class maps come in strips: a large original size needs no large maps."""
    monkeypatch.setattr(device, 'HOST_VALUES', 8 * 150 * 1000 * 8)
    if mode == 'slide':
        set_windows(model, (48, 64), (32, 32))
    strips = (model._whole if mode == 'whole' else model._slide)(torch.randn(1, 3, *SIZE), [(900, 1000)])
    rows = [maps.shape[1] for maps in next(iter(strips))]
    assert sum(rows) == 900 and max(rows) <= 8


def test_rejected_test_cfg(cfg, make_model):
    cfg.model.test_cfg = dict(mode='slide', crop_size=(32, 32), stride=(64, 64))
    with pytest.raises(ValueError, match='leave gaps'):
        make_model(cfg)
