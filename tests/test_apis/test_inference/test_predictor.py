"""Predictor: the results of mmdet's and mmseg's inferencers, thresholds, batches, limits."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmengine.config import Config
from mmseg.apis import MMSegInferencer
from PIL import Image

from mmmaskdino.apis import Failure, Limits, Predictor
from mmmaskdino.apis.inference.predictor import map_ahead
from mmmaskdino.datasets.files import DataError


@pytest.fixture
def panoptic(model_files) -> Predictor:
    return Predictor(*model_files('panoptic'), device='cpu', score_thr=0.0)


def test_the_same_as_det_inferencer(model_files, make_image, panoptic, tmp_path: Path) -> None:
    """Results and, without panopticapi, panoptic files too."""
    files, image = model_files('panoptic'), make_image('image.png')
    inferencer = DetInferencer(str(files.config), str(files.weights), device='cpu', show_progress=False)
    (expected,) = inferencer(str(image), return_datasamples=True, return_vis=True)['predictions']
    for source in (image, cv2.imread(str(image))):
        sample = panoptic(source).sample
        assert len(sample.pred_instances) == 100
        for key in ('bboxes', 'scores', 'labels', 'masks'):
            assert torch.equal(sample.pred_instances[key], expected.pred_instances[key]), key
        assert torch.equal(sample.pred_panoptic_seg.sem_seg, expected.pred_panoptic_seg.sem_seg)
        assert torch.equal(sample.pred_sem_seg.sem_seg, expected.pred_sem_seg.sem_seg)
    segments = sample.pred_panoptic_seg.sem_seg
    assert len(segments.unique()) >= 2, 'too simple to tell'
    inferencer(str(image), out_dir=str(tmp_path / 'out'), no_save_pred=False, no_save_vis=True)
    png = cv2.imread(str(tmp_path / 'out' / 'preds' / 'image_panoptic_seg.png'))
    assert len(np.unique(png.reshape(-1, 3), axis=0)) == len(segments.unique())


def test_the_same_as_mmseg_inferencer(model_files, make_image) -> None:
    files, image = model_files('semantic'), make_image('image.png')
    expected = MMSegInferencer(str(files.config), str(files.weights), device='cpu')(str(image), show=False)
    prediction = Predictor(*files, device='cpu')(image)
    labels = prediction.sample.pred_sem_seg.data[0].numpy()
    assert np.array_equal(labels, expected['predictions'])
    assert len(np.unique(labels)) > 1, 'too simple to tell'


def test_thresholds_apply(model_files, make_image, panoptic) -> None:
    image = make_image('image.png')
    scores = panoptic(image).sample.pred_instances.scores
    threshold = scores[40].item()
    files = model_files('panoptic')
    few = Predictor(*files, device='cpu', score_thr=threshold)(image).sample.pred_instances.scores
    assert 1 <= len(few) < len(scores) and few.min() >= threshold
    assert len(Predictor(*files, device='cpu', score_thr=0, max_per_image=7)(image).sample.pred_instances) == 7
    default = Predictor(*files, device='cpu')(image).sample.pred_instances.scores
    assert len(default) == int((scores >= 0.3).sum())
    of_config = Predictor(*files, device='cpu', cfg_options={'model.test_cfg.score_thr': threshold})
    assert torch.equal(of_config(image).sample.pred_instances.scores, few)
    segments = {thr: Predictor(*files, device='cpu', overlap_thr=thr)(image) for thr in (0.0, 0.99)}
    counts = {thr: len(p.sample.pred_panoptic_seg.sem_seg.unique()) for thr, p in segments.items()}
    assert counts[0.99] < counts[0.0]
    none = Predictor(*files, device='cpu', object_mask_thr=1.0)(image).sample.pred_panoptic_seg.sem_seg
    assert none.unique().tolist() == [10]


def test_a_given_config_is_left_as_it_is(model_files, make_image) -> None:
    files = model_files('panoptic')
    cfg = Config.fromfile(files.config)
    before = cfg.pretty_text
    options = {'model.test_cfg.max_per_image': 4}
    predictor = Predictor(cfg, files.weights, device='cpu', kinds=['instances'], score_thr=0.0, cfg_options=options)
    assert len(predictor(make_image('image.png')).sample.pred_instances) == 4
    assert cfg.pretty_text == before


def test_only_wanted_results_are_computed(model_files, make_image) -> None:
    predictor = Predictor(*model_files('panoptic'), device='cpu', kinds=['semantic'])
    sample = predictor(make_image('image.png')).sample
    assert predictor.kinds == ('semantic',)
    assert 'pred_sem_seg' in sample and 'pred_instances' not in sample and 'pred_panoptic_seg' not in sample


@pytest.mark.parametrize(
    ('task', 'options', 'message'),
    [
        ('semantic', dict(score_thr=0.5), 'semantic model, which has no score_thr'),
        ('semantic', dict(kinds=['panoptic']), 'gives no panoptic'),
        ('detection', dict(kinds=['semantic']), 'detection model and gives no semantic'),
        ('detection', dict(overlap_thr=0.5), 'results are instances, which have no overlap_thr'),
        ('panoptic', dict(kinds=['panoptic'], score_thr=0.5), 'results are panoptic, which have no score_thr'),
        ('semantic', dict(box_margin=0.1), 'semantic model.*box_margin'),
        ('detection', dict(box_margin=0.1), 'detection model, without masks to cut.*box_margin'),
        ('panoptic', dict(box_margin=-1), 'box_margin must be None or at least 0, got -1'),
        ('panoptic', dict(kinds=['boxes']), 'got boxes'),
        ('panoptic', dict(score_thr=2), r'score_thr must be a number in \[0, 1\], got 2'),
        ('panoptic', dict(limits=Limits(reduce_above=-1)), 'reduce_above'),
        ('panoptic', dict(cfg_options={'modle.type': 'A'}), 'did you mean model'),
    ],
)
def test_options_that_cannot_be_followed(model_files, task: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Predictor(*model_files(task), device='cpu', **options)


@pytest.mark.parametrize('kinds', [['instances'], ['panoptic'], ['semantic']])
def test_box_margin_reaches_the_model(model_files, kinds: list[str]) -> None:
    margins = [
        Predictor(
            *model_files('panoptic'), device='cpu', kinds=kinds, box_margin=margin
        ).model.panoptic_fusion_head.settings.box_margin
        for margin in (None, 0.0, 0.25)
    ]
    assert margins == [0.1, 0.0, 0.25]


def test_box_margin_ends_masks_at_their_boxes(model_files, make_image) -> None:
    image = make_image('image.png')
    outside = []
    for margin in (0.0, 100.0):
        predictor = Predictor(*model_files('panoptic'), device='cpu', score_thr=0.0, box_margin=margin)
        found = predictor(image).sample.pred_instances
        y, x = (torch.arange(size) + 0.5 for size in found.masks.shape[1:])
        left, top, right, bottom = (side[:, None] for side in found.bboxes.unbind(1))
        grown = 8  # a cell of the maps and what interpolation adds
        beside_x = (x < left - grown) | (x > right + grown)
        beside_y = (y < top - grown) | (y > bottom + grown)
        outside.append((found.masks & (beside_y[:, :, None] | beside_x[:, None])).sum().item())
    assert outside[0] == 0 < outside[1]


def test_weights_that_do_not_fit(model_files, tmp_path: Path) -> None:
    files = model_files('panoptic')
    content = torch.load(files.weights, weights_only=True)
    state = content['state_dict']
    kept = {name: tensor for name, tensor in state.items() if 'decoder.layers.1' not in name}
    torch.save(dict(content, state_dict=kept), tmp_path / 'missing.pth')
    with pytest.raises(ValueError, match=r'tensors are missing, for example panoptic_head.*mmmaskdino convert'):
        Predictor(files.config, tmp_path / 'missing.pth', device='cpu')
    name = 'panoptic_head.heads.classify.weight'
    torch.save(dict(content, state_dict={**state, name: torch.zeros(3, 96)}), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=rf'1 have another shape, for example {name}: \(3, 96\) and \(10, 96\)'):
        Predictor(files.config, tmp_path / 'other.pth', device='cpu')
    trained_elsewhere = {name: tensor for name, tensor in state.items() if '.denoising.' not in name}
    torch.save(dict(content, state_dict=trained_elsewhere), tmp_path / 'released.pth')
    Predictor(files.config, tmp_path / 'released.pth', device='cpu')
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=dict(classes=('a', 'b')))), tmp_path / 'names.pth')
    with pytest.raises(ValueError, match='10 classes, but 2 names'):
        Predictor(files.config, tmp_path / 'names.pth', device='cpu')


@pytest.mark.parametrize('task', ['panoptic', 'semantic'])
def test_batches_give_the_same_and_spoil_nothing(model_files, make_image, task: str) -> None:
    """Images of several sizes, one of which cannot be read and one that the model cannot take."""
    predictor = Predictor(*model_files(task), device='cpu')
    images = [make_image('a.png'), make_image('b.png'), make_image('c.png', (64, 40)), make_image('d.png')]
    images.insert(1, Path('nowhere.png'))
    step = predictor.model.test_step

    def fail_on_c(data: dict) -> list:
        if any(sample.img_path.endswith('c.png') for sample in data['data_samples']):
            raise RuntimeError('no memory\nat all')
        return step(data)

    predictor.model.test_step = fail_on_c
    results = list(predictor.predict(images, batch_size=3))
    assert [Path(result.name).name for result in results] == ['a.png', 'nowhere.png', 'b.png', 'c.png', 'd.png']
    assert [isinstance(result, Failure) for result in results] == [False, True, False, True, False]
    assert results[3].reason == 'RuntimeError: no memory'
    for result, image in ((results[0], images[0]), (results[4], images[4])):
        alone = predictor(image).sample.pred_sem_seg
        key = 'sem_seg' if task == 'panoptic' else 'data'
        assert (result.sample.pred_sem_seg.get(key) == alone.get(key)).float().mean() > 0.999
    with pytest.raises(ValueError, match='expected batch_size from 1'):
        next(predictor.predict(images, batch_size=0))


def test_only_a_batch_is_held(model_files, make_image, panoptic) -> None:
    """Images are asked for as their results are taken."""
    taken = []

    def images():
        for number in range(6):
            taken.append(number)
            yield f'{number}', np.full((32, 32, 3), 40 * number, np.uint8)

    results = panoptic.predict(images(), batch_size=2)
    assert [next(results).name for _ in range(2)] == ['0', '1']
    assert taken == [0, 1]
    assert [result.name for result in results] == ['2', '3', '4', '5']


def test_a_large_image_is_reduced(model_files, make_image) -> None:
    image = make_image('large.png', (100, 200))
    predictor = Predictor(*model_files('panoptic'), device='cpu', limits=Limits(reduce_above=0.005), score_thr=0)
    prediction = predictor(image)
    assert prediction.image.shape == (50, 100, 3) and prediction.size == (100, 200)
    assert prediction.sample.pred_instances.masks.shape[1:] == (50, 100)


def test_the_limits_reach_the_reader(model_files, make_image) -> None:
    image, files = make_image('image.png'), model_files('panoptic')
    predictor = Predictor(*files, device='cpu', limits=Limits(max_megapixels=0.003))
    with pytest.raises(DataError, match='image.png: .* 70 x 50 pixels.*limit is 0.003'):
        predictor(image)
    with pytest.raises(DataError, match='70 x 50 pixels.*limit is 0.003'):
        predictor(cv2.imread(str(image)))
    raised = Predictor(*files, device='cpu', limits=Limits(max_megapixels=500))
    assert raised.loader.max_pixels == 500_000_000


def test_what_the_network_gets_is_bounded(model_files, make_image) -> None:
    """An image is reduced until its input fits; where the pipeline enlarges everything, there is a message."""
    files, image, limits = model_files('panoptic'), make_image('image.png'), Limits(max_input_megapixels=0.003)
    predictor = Predictor(*files, device='cpu', limits=limits)
    height, width = predictor(image).image.shape[:2]
    assert 0.0028e6 < height * width <= 0.003e6
    (line,) = predictor.remarks.lines()
    assert 'image.png (0.0 to 0.0 megapixels)' in line and '--reduce-above' in line
    resize = dict(type='Resize', scale=(100, 100), keep_ratio=True)
    cfg = Config.fromfile(files.config)
    cfg.test_dataloader.dataset.pipeline.insert(1, resize)
    with pytest.raises(DataError, match=r'image.png: .* 100 x .* limit of 0.003 .*Resize.*max-input-megapixels'):
        Predictor(cfg, files.weights, device='cpu', limits=limits)(image)


@pytest.mark.parametrize('array', [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_arrays_of_another_kind(panoptic, array: np.ndarray) -> None:
    with pytest.raises(DataError, match='order blue, green, red'):
        panoptic(array)


def test_a_grey_array(panoptic) -> None:
    assert panoptic(np.zeros((40, 30), np.uint8)).image.shape == (40, 30, 3)


@pytest.mark.parametrize('kind', [None, 'panoptic', 'instances', 'semantic'])
def test_pictures(model_files, make_image, kind: str | None) -> None:
    panoptic = Predictor(*model_files('panoptic'), device='cpu', score_thr=0.0, max_per_image=5)
    prediction = panoptic(make_image('image.png'))
    picture = panoptic.draw(prediction, kind)
    assert picture.shape == (50, 70, 3) and picture.dtype == np.uint8
    assert (picture != prediction.image[..., ::-1]).any()
    small = panoptic.draw(prediction, kind, max_side=35)
    assert small.shape == (25, 35, 3)
    assert np.array_equal(picture, panoptic.draw(prediction, kind))


def test_a_picture_of_what_is_not_there(model_files, make_image) -> None:
    predictor = Predictor(*model_files('detection'), device='cpu', score_thr=0, max_per_image=5)
    prediction = predictor(make_image('image.png'))
    assert predictor.draw(prediction).shape == (50, 70, 3)
    for kind in ('semantic', 'banana'):
        with pytest.raises(ValueError, match=f'results are instances, so {kind} cannot be drawn'):
            predictor.draw(prediction, kind)


def test_what_stands_for_several_images(panoptic, make_image, tmp_path: Path) -> None:
    path = make_image('in/a.png')
    make_image('in/sub/b.png')
    pixels = cv2.imread(str(path))
    expected = panoptic(path).sample.pred_sem_seg.sem_seg
    for source in (tmp_path / 'in', str(tmp_path / 'in' / '**' / '*.png'), [path, tmp_path / 'in' / 'sub' / 'b.png']):
        results = panoptic(source)
        assert [Path(result.name).name for result in results] == ['a.png', 'b.png']
        assert torch.equal(results[0].sample.pred_sem_seg.sem_seg, expected)
    mixed = panoptic([pixels, Image.open(path), tmp_path / 'missing.png', 7])
    assert [isinstance(result, Failure) for result in mixed] == [False, False, True, True]
    assert torch.equal(mixed[1].sample.pred_sem_seg.sem_seg, expected)
    assert mixed[3].reason.startswith('expected a path, pattern or address')
    assert repr(mixed[1]).startswith(f'<Prediction {path}, 70 x 50: ') and len(repr(mixed[1])) < 250
    assert repr(panoptic) == '<Predictor maskdino_r18_shapes_panoptic: panoptic, instances, semantic of 10 classes>'
    assert mixed[0].seconds > 0


def test_a_video_is_taken_frame_by_frame(panoptic, tmp_path: Path) -> None:
    path = tmp_path / 'film.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    for _ in range(2):
        writer.write(np.full((48, 64, 3), 99, np.uint8))
    writer.release()
    assert [result.name for result in panoptic.predict(path)] == ['film/000000', 'film/000001']
    with pytest.raises(TypeError, match='frames of a video one by one'):
        panoptic(path)
    with pytest.raises(TypeError, match='got int'):
        next(panoptic.predict(7))


def test_images_read_ahead_give_the_same_in_the_same_order(panoptic, make_image, tmp_path: Path) -> None:
    sizes = [(40, 60), (64, 40), (40, 60), (48, 48), (40, 60), (64, 40)]
    images = [make_image(f'{number}.png', size) for number, size in enumerate(sizes)]
    images.insert(2, tmp_path / 'gone.png')
    for batch_size in (1, 2):
        expected = list(panoptic.predict(images, batch_size))
        for result, other in zip(panoptic.predict(images, batch_size, workers=3), expected, strict=True):
            assert result.name == other.name
            if isinstance(other, Failure):
                assert result == other and other.name.endswith('gone.png') and not other.is_internal
            else:
                assert torch.equal(result.sample.pred_instances.masks, other.sample.pred_instances.masks)
                assert torch.equal(result.sample.pred_panoptic_seg.sem_seg, other.sample.pred_panoptic_seg.sem_seg)


def test_batches_are_of_like_sizes(panoptic, make_image, monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding may add a quarter, no more."""
    batches = []
    original = Predictor._predict
    monkeypatch.setattr(Predictor, '_predict', lambda self, batch: batches.append(len(batch)) or original(self, batch))
    sizes = [(64, 64), (64, 64), (64, 56), (20, 64), (64, 20), (64, 20)]
    images = [make_image(f'{number}.png', size) for number, size in enumerate(sizes)]
    assert len(list(panoptic.predict(images, batch_size=4))) == 6
    assert batches == [3, 1, 2]


def test_what_is_made_ahead_is_bounded() -> None:
    taken, made = [], []
    results = map_ahead(lambda item: made.append(item) or 2 * item, (taken.append(i) or i for i in range(9)), 2, 3)
    assert next(results) == 0 and taken == [0, 1, 2, 3]
    assert list(results) == [2 * i for i in range(1, 9)] and sorted(made) == list(range(9))
    failing = map_ahead(lambda item: 1 // item, [1, 0, 1], 1, 1)
    assert next(failing) == 1
    with pytest.raises(ZeroDivisionError):
        next(failing)


def test_settings_tell_predictors_apart(model_files, panoptic) -> None:
    files = model_files('panoptic')
    before = panoptic.settings()
    assert Predictor(*files, device='cpu', score_thr=0.0).settings() == before
    for options in (dict(score_thr=0.1), dict(kinds=['semantic']), dict(limits=Limits(9)), dict(tta=True)):
        assert Predictor(*files, device='cpu', **options).settings() != before
    other = {'test_dataloader.dataset.pipeline.0.imdecode_backend': 'pillow'}
    assert Predictor(*files, device='cpu', score_thr=0.0, cfg_options=other).settings() != before


def test_a_compiled_model_gives_the_same(model_files, make_image, panoptic) -> None:
    image, compiled = make_image('a.png'), Predictor(*model_files('panoptic'), device='cpu', score_thr=0.0)
    parts = []

    def backend(graph, inputs):
        parts.append(graph)
        return graph.forward

    compiled.compile(backend=backend)
    masks = [predictor(image).sample.pred_instances.masks for predictor in (compiled, panoptic)]
    assert (masks[0] != masks[1]).float().mean() < 1e-3  # an older torch rounds otherwise when it has compiled
    assert len(parts) >= 3
