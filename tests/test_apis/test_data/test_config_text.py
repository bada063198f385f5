"""The written config."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from pathlib import Path

import pytest
from mmengine.config import Config

from mmmaskdino.apis.data import TrainingPlan, check_split, choose_recipe, find_splits, write_config
from mmmaskdino.apis.data.base_config import BaseConfig
from mmmaskdino.apis.data.config_text import BASES, choose_size
from mmmaskdino.apis.launch import load_config
from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.shapes import METAINFO
from mmmaskdino.hub.table import configs_folder

CONFIGS = configs_folder()


@pytest.fixture
def summaries(shapes: Path):
    """Of the parts of a kind."""
    return lambda kind: [check_split(split, read_images=False) for split in find_splits(shapes, kind)]


@pytest.mark.parametrize('kind', ['instance', 'panoptic', 'semantic'])
@pytest.mark.parametrize('memory', [80, 4])
def test_config_loads_and_is_short(summaries, shapes: Path, tmp_path: Path, kind: str, memory: float) -> None:
    plan = TrainingPlan(gpu_memory=memory, num_gpus=2, load_from='weights.pth')
    text = write_config(summaries(kind), plan, tmp_path / 'configs' / 'own.py')
    assert len(text.splitlines()) <= 25
    cfg = Config.fromfile(tmp_path / 'configs' / 'own.py')
    assert cfg.load_from == 'weights.pth'
    plan_of_files = TrainingPlan(gpu_memory=memory)
    _, batch = choose_size(plan_of_files, BaseConfig(CONFIGS / BASES[kind]), (64, 64))
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-4 * 2 * batch / 16, rel=0.01)
    assert cfg.optim_wrapper.optimizer.type == 'AdamW' and cfg.train_cfg.max_iters >= 5000
    (scheduler,) = cfg.param_scheduler
    assert scheduler.milestones == [round(0.9 * cfg.train_cfg.max_iters)] and scheduler.gamma == 0.1
    train, val = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    assert cfg.test_dataloader == cfg.val_dataloader and Path(train.data_root) == shapes
    assert train.data_prefix.get('img', train.data_prefix.get('img_path')).rstrip('/') == 'train'
    assert val.data_prefix.get('img', val.data_prefix.get('img_path')).rstrip('/') == 'val'
    if kind == 'semantic':
        assert cfg.model.decode_head.num_classes == 10 and train.type == 'CheckedSegDataset'
        return
    sizes = [step[key] for step in train.pipeline for key in ('scale', 'crop_size', 'size') if key in step]
    assert sizes == [(256, 256)] * 3, 'of files of 64 x 64'
    head = cfg.model.panoptic_head
    assert (head.num_things_classes, head.num_stuff_classes) == (6, 4 if kind == 'panoptic' else 0)
    classes = METAINFO['classes'] if kind == 'panoptic' else METAINFO['thing_classes']
    assert train.metainfo.classes == val.metainfo.classes == classes
    assert train.get('filter_cfg') is None, 'images without objects are trained on'
    evaluators = cfg.val_evaluator if kind == 'panoptic' else [cfg.val_evaluator]
    assert all(str(shapes / val.ann_file) == evaluator.ann_file for evaluator in evaluators)
    assert cfg.test_evaluator == cfg.val_evaluator


@pytest.mark.parametrize('kind', ['instance', 'panoptic'])
@pytest.mark.parametrize('objects', [3, 40])
def test_small_model(summaries, tmp_path: Path, kind: str, objects: int) -> None:
    parts = summaries(kind)
    parts[0].objects_per_image = [objects] * 6
    parts[0].objects, parts[0].images = (Counter(dict.fromkeys(range(6), n)) for n in (6 * objects, 6))
    recipe = choose_recipe(parts, num_processes=2, epochs=400)
    plan = TrainingPlan(num_gpus=2, load_from='weights.pth', small=recipe)
    assert len(write_config(parts, plan, tmp_path / 'own.py').splitlines()) <= 25
    cfg = Config.fromfile(tmp_path / 'own.py')
    assert cfg.model.backbone.model_name == 'tf_efficientnet_lite0' and cfg.load_from == 'weights.pth'
    head = cfg.model.panoptic_head
    assert (head.num_things_classes, head.num_stuff_classes) == (6, 4 if kind == 'panoptic' else 0)
    assert head.query_init.num_queries == head.denoising.num_queries == max(50, 1.5 * objects)
    assert tuple(head.query_init.proposal_sizes) == recipe.proposal_sizes
    assert head.criterion.box_point_share == recipe.box_point_share and head.criterion.num_points == 512
    assert head.box_prior == dict(type='BoxPrior')
    train, test = cfg.train_dataloader.dataset.pipeline, cfg.test_dataloader.dataset.pipeline
    sizes = [step[key] for step in (*train, *test) for key in ('scale', 'crop_size') if key in step]
    assert sizes == [(64, 64)] * 3, 'as large as the files, in training and evaluation'
    assert cfg.test_dataloader == cfg.val_dataloader and cfg.train_dataloader.batch_size == 2
    assert cfg.train_cfg.max_iters == 600 == cfg.train_cfg.val_interval
    warm_up, anneal = cfg.param_scheduler
    assert (warm_up.end, anneal.begin, anneal.end, anneal.eta_min) == (100, 100, 600, 0)


def test_small_model_of_data_that_it_is_not_for(summaries, tmp_path: Path) -> None:
    recipe = choose_recipe(summaries('instance'))
    boxes = [dataclasses.replace(summary, has_masks=False) for summary in summaries('instance')]
    for parts, kind in ((summaries('semantic'), 'semantic'), (boxes, 'detection')):
        with pytest.raises(ValueError, match=f'these are {kind} data; mmmaskdino data config without --small'):
            write_config(parts, TrainingPlan(small=recipe), tmp_path / 'own.py')
    with pytest.raises(ValueError, match='leave out --base or --small'):
        TrainingPlan(small=recipe, base=CONFIGS / BASES['instance'])


@pytest.mark.parametrize(('file_side', 'side'), [(64, 256), (128, 256), (150, 384), (384, 768), (400, None)])
def test_small_images_are_not_trained_on_at_1024(file_side: int, side: int | None) -> None:
    base = BaseConfig(CONFIGS / BASES['instance'])
    assert choose_size(TrainingPlan(gpu_memory=80), base, (48, file_side))[0] == side
    assert choose_size(TrainingPlan(gpu_memory=80, image_side=640), base, (48, file_side))[0] == 640
    shown = choose_size(TrainingPlan(gpu_memory=4), base, (48, file_side))[0]
    assert shown == min(side or 512, 512), 'and less where the memory is short'


def test_boxes_alone_make_a_detection_model(summaries, tmp_path: Path) -> None:
    boxes = [dataclasses.replace(summary, has_masks=False) for summary in summaries('instance')]
    write_config(boxes, TrainingPlan(gpu_memory=4), tmp_path / 'own.py')
    cfg = Config.fromfile(tmp_path / 'own.py')
    assert cfg.model.panoptic_head.mask_dims is None and cfg.val_evaluator.metric == 'bbox'
    assert 'with_mask' not in cfg.train_dataloader.dataset.pipeline[1]
    assert cfg.train_dataloader.dataset.with_masks is cfg.val_dataloader.dataset.with_masks is False


def test_boxes_alone_with_a_base_for_boxes(summaries, tmp_path: Path) -> None:
    boxes = [dataclasses.replace(summary, has_masks=False) for summary in summaries('instance')]
    write_config(boxes, TrainingPlan(base=CONFIGS / 'maskdino_r50_coco_detection.py'), tmp_path / 'own.py')
    cfg = Config.fromfile(tmp_path / 'own.py')
    assert cfg.train_dataloader.dataset.with_masks is cfg.val_dataloader.dataset.with_masks is False


def test_classes_without_objects_are_left_out(summaries, tmp_path: Path) -> None:
    train, val = summaries('instance')
    train, val = (dataclasses.replace(part, classes=('everything', *part.classes)) for part in (train, val))
    for part in (train, val):
        part.objects = Counter({label + 1: count for label, count in part.objects.items()})
    write_config([train, val], TrainingPlan(), tmp_path / 'own.py')
    cfg = Config.fromfile(tmp_path / 'own.py')
    assert cfg.train_dataloader.dataset.metainfo.classes == METAINFO['thing_classes']
    assert cfg.val_dataloader.dataset.metainfo.classes == METAINFO['thing_classes']
    assert cfg.model.panoptic_head.num_things_classes == 6
    assert train.classes[0] == 'everything', 'the summary is not changed'


def test_classes_in_another_order(summaries, tmp_path: Path) -> None:
    train, val = summaries('instance')
    write_config([train, dataclasses.replace(val, classes=val.classes[::-1])], TrainingPlan(), tmp_path / 'own.py')
    cfg = Config.fromfile(tmp_path / 'own.py')
    assert cfg.val_dataloader.dataset.metainfo.classes == train.classes


def test_base_within_the_project_is_relative(summaries, project_root: Path, tmp_path: Path) -> None:
    base = project_root / 'configs' / 'maskdino' / 'maskdino_r50_coco_instance.py'
    copy = tmp_path / 'a' / base.name
    copy.parent.mkdir()
    copy.write_text(f'_base_ = {str(base)!r}\n')
    text = write_config(summaries('instance'), TrainingPlan(base=copy), tmp_path / 'a' / 'own.py')
    assert f"_base_ = '{base.name}'" in text.splitlines()
    with pytest.raises(ValueError, match='does not exist'):
        write_config(summaries('instance'), TrainingPlan(base=tmp_path / 'no.py'), tmp_path / 'own.py')


@pytest.mark.parametrize('flat', [False, True])
def test_a_config_can_be_taken_to_another_machine(summaries, project_root: Path, tmp_path: Path, flat: bool) -> None:
    """It finds its base by name, wherever the package is, or needs none; both say the same."""
    text = write_config(summaries('instance'), TrainingPlan(flat=flat), tmp_path / 'own.py')
    assert str(project_root) not in text and ('_base_' in text) != flat
    assert text == (tmp_path / 'own.py').read_text()
    elsewhere = tmp_path / 'elsewhere' / 'own.py'
    elsewhere.parent.mkdir()
    elsewhere.write_text(text)
    cfg = Config.fromfile(elsewhere)
    assert cfg.model.type == 'MaskDINO' and cfg.model.panoptic_head.num_things_classes == len(cfg.classes)
    other = tmp_path / 'other.py'
    write_config(summaries('instance'), TrainingPlan(flat=not flat), other)
    assert Config.fromfile(other).to_dict() == cfg.to_dict()


def test_data_that_cannot_be_trained_on(summaries, tmp_path: Path) -> None:
    train, val = summaries('instance')
    faulty = dataclasses.replace(train, problems=['annotation 7: no'])
    other = dataclasses.replace(val, classes=(*val.classes[:-1], 'hexagon'))
    unnamed = dataclasses.replace(val, split=val.split._replace(name='b'))
    for parts, message in (
        ([faulty, val], '1 problem.*annotation 7.*data check'),
        ([train, other], r'different classes: .*train.json lacks \["hexagon"\].*val.json lacks \["ring"\]'),
        ([unnamed, val], "none of the parts.*is called 'train'"),
    ):
        with pytest.raises(DataError, match=message):
            write_config(parts, TrainingPlan(), tmp_path / 'own.py')
    assert not (tmp_path / 'own.py').exists()


def sizes_of(kind: str, memory: float, side: int | None = None, base: Path | None = None) -> tuple[int | None, int]:
    plan = TrainingPlan(gpu_memory=memory, image_side=side)
    return choose_size(plan, BaseConfig(base or CONFIGS / BASES[kind]), (768, 1024))


def test_memory_decides_batch_and_size() -> None:
    sizes = {memory: sizes_of('instance', memory) for memory in (4, 5, 8, 11, 24, 80)}
    assert sizes == {4: (512, 1), 5: (768, 1), 8: (None, 1), 11: (None, 2), 24: (None, 5), 80: (None, 16)}
    assert sizes_of('panoptic', 24, side=512)[0] == 512
    assert sizes_of('semantic', 24)[0] is None and sizes_of('semantic', 24, side=256)[0] == 256
    with pytest.raises(ValueError, match=r'about 3.7 GiB for one image of 512 x 512 pixels, got 3 \(--gpu-memory\)'):
        sizes_of('instance', 3)


@pytest.mark.parametrize('name', ['num_gpus', 'epochs', 'image_side'])
def test_numbers_that_make_no_plan(name: str) -> None:
    with pytest.raises(ValueError, match='must be at least [13]2?, got 0'):
        TrainingPlan(**{name: 0})


@pytest.mark.parametrize('memory', [0, -1, float('nan'), float('inf')])
def test_memory_that_is_none(memory: float) -> None:
    with pytest.raises(ValueError, match='--gpu-memory must be above 0, got'):
        TrainingPlan(gpu_memory=memory)


HOSTILE = (
    '{{ fileDirname }}',
    "{{$A:'+open(__import__('os').environ['RAN'],'w').write('ran')+'}}",
    '{{ _base_.data_root }}',
    '{{{{{',
    'a\'b"c\\',
    '100% ${HOME} {0} %s',
    '# fmt: off',
    '\u7247\u5200',
)


@pytest.mark.parametrize('kind', ['instance', 'panoptic', 'semantic'])
def test_texts_of_the_data_stay_texts(
    summaries, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Also in the config that a run saves, in its checkpoints, and in names of folders and weights."""
    monkeypatch.setenv('RAN', str(tmp_path / 'ran'))
    root = tmp_path / HOSTILE[0] / "it's {{$A:x}}"
    root.parent.mkdir()
    root.symlink_to(shapes)
    classes = (*HOSTILE, 'x', 'y')
    if kind == 'instance':
        classes = classes[:6]
    parts = [
        dataclasses.replace(s, classes=classes, split=s.split._replace(root=root), num_things=min(6, len(classes)))
        for s in summaries(kind)
    ]
    plan = TrainingPlan(load_from='{{ fileBasename }}.pth')
    write_config(parts, plan, tmp_path / 'own.py')
    cfg = load_config(tmp_path / 'own.py')
    cfg.dump(tmp_path / 'saved.py')
    in_checkpoint = Config.fromstring(copy.deepcopy(cfg).pretty_text, '.py')
    for found in (cfg, Config.fromfile(tmp_path / 'saved.py'), in_checkpoint):
        dataset = found.train_dataloader.dataset
        assert tuple(dataset.metainfo.classes) == classes
        assert dataset.data_root == f'{root}/' and found.load_from == '{{ fileBasename }}.pth'
    assert not (tmp_path / 'ran').exists()
    assert sorted(path.name for path in tmp_path.glob('*.py')) == ['own.py', 'saved.py']


def test_a_folder_with_a_line_break_adds_no_code(summaries, shapes: Path, tmp_path: Path) -> None:
    root = tmp_path / "data\nopen('ran', 'w')"
    root.symlink_to(shapes)
    parts = [dataclasses.replace(s, split=s.split._replace(root=root)) for s in summaries('instance')]
    text = write_config(parts, TrainingPlan(), tmp_path / 'own.py')
    assert not [line for line in text.splitlines() if line.startswith('open')]


def write_base(path: Path, base: str, lines: str = '') -> Path:
    path.write_text(f'_base_ = {str(CONFIGS / base)!r}\n{lines}\n')
    return path


@pytest.mark.parametrize(
    ('base', 'kind', 'sizes'),
    [
        ('maskdino_r50_coco_instance.py', 'instance', {'LargeScaleJitter.scale': (256, 256), 'Pad.size': (256, 256)}),
        ('maskdino_r50_ade20k_instance.py', 'instance', {'RandomCrop.crop_size': (256, 256)}),
        ('maskdino_r50_cityscapes_panoptic.py', 'panoptic', {'RandomCrop.crop_size': (128, 256)}),
        ('maskdino_r50_ade20k_semantic.py', 'semantic', {'RandomCrop.crop_size': (256, 256)}),
    ],
)
def test_image_size_of_any_base(summaries, tmp_path: Path, base: str, kind: str, sizes: dict) -> None:
    """Steps are found by their sizes, wherever they are in the pipeline; all others stay."""
    before = Config.fromfile(CONFIGS / base).train_dataloader.dataset.pipeline
    shifted = write_base(
        tmp_path / 'base.py',
        base,
        "train_dataloader = dict(dataset=dict(pipeline=[*_base_.train_pipeline[:2], dict(type='PhotoMetricDistortion'),"
        ' *_base_.train_pipeline[2:]]))',
    )
    write_config(summaries(kind), TrainingPlan(base=shifted, image_side=256), tmp_path / 'own.py')
    cfg = Config.fromfile(tmp_path / 'own.py')
    after = cfg.train_dataloader.dataset.pipeline
    assert [step.type for step in after] == [*(s.type for s in before[:2]), 'PhotoMetricDistortion'] + [
        s.type for s in before[2:]
    ]
    for key, size in sizes.items():
        name, argument = key.split('.')
        assert [step[argument] for step in after if step.type == name] == [size]
    for step, old in zip(after[3:], before[2:], strict=True):
        if step.type == 'RandomChoiceResize':
            ratio = 256 / max(next(s.crop_size for s in before if s.type == 'RandomCrop'))
            assert step.scales == [tuple(round(side * ratio) for side in scale) for scale in old.scales]
    if kind == 'semantic':
        assert cfg.model.data_preprocessor.size == (256, 256)


def test_a_base_that_cannot_be_followed(summaries, tmp_path: Path) -> None:
    """The reason is said, and nothing is written."""
    shapes_base = CONFIGS / 'maskdino_r18_shapes_instance.py'
    out = tmp_path / 'out' / 'own.py'
    boxes = [dataclasses.replace(summary, has_masks=False) for summary in summaries('instance')]
    broken = tmp_path / 'broken.py'
    broken.write_text('1 / 0')
    for kind, base, side, message in (
        ('instance', shapes_base, 256, 'keep the size of their files, so that --image-size 256 has nothing to set'),
        (
            'instance',
            CONFIGS / 'maskdino_r18_shapes_panoptic.py',
            None,
            'trains panoptic data, the data are instance',
        ),
        ('semantic', shapes_base, None, 'trains instance data, the data are semantic'),
        ('instance', CONFIGS / 'maskdino_r50_lvis_instance.py', None, 'wrapped in ClassBalancedDataset'),
        ('instance', broken, None, r'broken.py: the config cannot be read \(ZeroDivisionError'),
        ('boxes', shapes_base, None, 'trains masks, and the data are taken as boxes alone'),
        ('instance', write_base(tmp_path / 'a.py', shapes_base.name, 'val_evaluator = []'), None, 'is not written'),
    ):
        parts = boxes if kind == 'boxes' else summaries(kind)
        with pytest.raises(ValueError, match=message):
            write_config(parts, TrainingPlan(base=base, image_side=side), out)
        assert not list(tmp_path.glob('out/*')) and not list(tmp_path.glob('out/.*'))
    with pytest.raises(ValueError, match=r'ends with \.py, got'):
        write_config(summaries('instance'), TrainingPlan(), tmp_path / 'own.txt')


def test_images_as_they_are(summaries, tmp_path: Path) -> None:
    """A base without a size: the files' sizes decide how many fit."""
    base = CONFIGS / 'maskdino_r18_shapes_instance.py'
    write_config(summaries('instance'), TrainingPlan(base=base, gpu_memory=8), tmp_path / 'own.py')
    cfg = Config.fromfile(tmp_path / 'own.py')
    assert cfg.train_dataloader.dataset.pipeline == Config.fromfile(base).train_dataloader.dataset.pipeline
    assert cfg.train_dataloader.batch_size == 16
    assert choose_size(TrainingPlan(gpu_memory=24), BaseConfig(base), (1500, 2000)) == (None, 1)
    with pytest.raises(ValueError, match='of 6000 x 4000 pixels.*a base that resizes images needs less'):
        choose_size(TrainingPlan(gpu_memory=24), BaseConfig(base), (4000, 6000))


def test_panoptic_data_of_one_sort_or_of_many_classes(summaries, tmp_path: Path) -> None:
    names = tuple(f'class {number}' for number in range(300))
    for num_things in (0, 300):
        parts = [dataclasses.replace(s, classes=names, num_things=num_things) for s in summaries('panoptic')]
        write_config(parts, TrainingPlan(gpu_memory=80), tmp_path / f'own{num_things}.py')
        cfg = Config.fromfile(tmp_path / f'own{num_things}.py')
        head = cfg.model.panoptic_head
        assert (head.num_things_classes, head.num_stuff_classes) == (num_things, 300 - num_things)
        assert cfg.model.test_cfg.instance_on == bool(num_things)
        pipeline = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
        assert pipeline['LoadCocoPanopticAnnotations'].ignore_index == 300
        assert pipeline['Pad'].pad_val == dict(img=(128, 128, 128), masks=0, seg=300)
        assert cfg.model.data_preprocessor.seg_pad_value == 300


def test_parts_whose_label_maps_have_other_names(summaries, tmp_path: Path) -> None:
    train, val = summaries('semantic')
    other = dataclasses.replace(val, split=val.split._replace(img_suffix='.png', seg_suffix='_mask.png'))
    write_config([train, other], TrainingPlan(), tmp_path / 'own.py')
    cfg = Config.fromfile(tmp_path / 'own.py')
    suffixes = [(d.img_suffix, d.seg_map_suffix) for d in (cfg.train_dataloader.dataset, cfg.val_dataloader.dataset)]
    assert suffixes == [('.jpg', '.png'), ('.png', '_mask.png')]


def test_no_palette_of_other_classes_stays(summaries, tmp_path: Path) -> None:
    for kind in ('panoptic', 'semantic'):
        base = CONFIGS / f'maskdino_r18_shapes_{kind}.py'
        assert 'palette' in Config.fromfile(base).metainfo
        write_config(summaries(kind), TrainingPlan(base=base), tmp_path / f'{kind}.py')
        cfg = Config.fromfile(tmp_path / f'{kind}.py')
        for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
            assert not {'palette', '_delete_'} & set(loader.dataset.metainfo)
