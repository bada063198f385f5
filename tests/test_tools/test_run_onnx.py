"""The example that runs an exported file with onnxruntime and numpy alone."""

import runpy
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from PIL import Image

from mmmaskdino.datasets.shapes import METAINFO
from mmmaskdino.export.exporter import export_onnx
from mmmaskdino.models.seg_heads.mask_boxes import join_with_masks

CHECK_MODULES = """
import runpy, sys
tool, *sys.argv = sys.argv[1:]
sys.argv = [tool, *sys.argv]
try:
    runpy.run_path(tool, run_name='__main__')
finally:
    heavy = {'torch', 'mmmaskdino', 'mmengine', 'cv2', 'scipy', 'onnx'} & set(sys.modules)
    assert not heavy, heavy
"""


@pytest.fixture(scope='module')
def model(project_root, shrink, make_model):
    """Config and a small panoptic model with weights that tell its classes apart."""
    cfg = shrink(Config.fromfile(project_root / 'configs' / 'maskdino' / 'maskdino_r18_shapes_panoptic.py'))
    torch.manual_seed(0)
    model = make_model(cfg)
    with torch.no_grad():
        model.panoptic_head.heads.classify.bias.fill_(0)
    model.dataset_meta = METAINFO
    return cfg, model.eval()


@pytest.fixture(scope='module')
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp('photo') / 'photo.png'
    random = np.random.default_rng(0).integers(256, size=(6, 8, 3), dtype=np.uint8)
    Image.fromarray(random).resize((120, 90), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize('outputs', ['raw', 'results'])
def test_finds_what_the_model_finds(model, photo, outputs, project_root, tmp_path):
    cfg, detector = model
    export_onnx(detector, cfg, tmp_path / 'model.onnx', outputs, size=(96, 128), runtimes=[])
    tool = project_root / 'tools' / 'deployment' / 'run_onnx.py'
    out = tmp_path / 'out.png'
    arguments = [tool, tmp_path / 'model.onnx', photo, '--out', out, '--score-thr', '0']
    done = subprocess.run(
        [sys.executable, '-c', CHECK_MODULES, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = predict(detector, photo)
    lines = [line.split(' at ')[0].split() for line in done.stdout.splitlines() if ' at ' in line]
    classes = [METAINFO['classes'][label] for label in expected.pred_instances.labels]
    assert Counter(name for name, _ in lines) == Counter(classes)
    scores = torch.tensor([float(score) for _, score in lines])
    assert torch.allclose(scores, expected.pred_instances.scores, atol=2e-3)
    found = Counter(line.split(':')[0] for line in done.stdout.splitlines() if ' at ' not in line)
    maps = dict(panoptic=expected.pred_panoptic_seg.sem_seg, semantic=expected.pred_sem_seg.sem_seg)
    assert found == ({name: len(x.unique()) for name, x in maps.items()} if outputs == 'results' else {})
    assert Image.open(out).size == (120, 90)


def predict(detector, photo):
    """Of the photograph as the tool resizes it, by the detector itself."""
    resized = Image.open(photo).resize((128, 96), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.asarray(resized)[..., ::-1].copy()).permute(2, 0, 1)
    sample = DetDataSample(metainfo=dict(img_shape=(96, 128), ori_shape=(96, 128)))
    data = detector.data_preprocessor(dict(inputs=[pixels], data_samples=[sample]))
    return detector.predict(data['inputs'], data['data_samples'], rescale=False)[0]


def test_boxes_are_averaged_with_those_of_masks_as_in_the_package(project_root):
    with_mask = runpy.run_path(str(project_root / 'tools' / 'deployment' / 'run_onnx.py'))['with_mask']
    generator = np.random.default_rng(0)
    masks, boxes = generator.random((4, 9, 12)) > 0.97, 9 * generator.random((4, 4))
    masks[3] = False
    expected = join_with_masks(torch.from_numpy(boxes), torch.from_numpy(masks), 0.5)
    found = [with_mask(box, mask, 0.5) for box, mask in zip(boxes, masks, strict=True)]
    assert np.allclose(found, expected) and not np.allclose(found[:3], boxes[:3])


@pytest.mark.parametrize('content', [b'', b'not an ONNX file'])
def test_no_model(content, photo, run_tool, tmp_path):
    path = tmp_path / 'model.onnx'
    path.write_bytes(content)
    assert 'run_onnx.py: ' in run_tool('deployment/run_onnx.py', path, photo)


def test_a_folder(model, photo, project_root, run_tool, tmp_path):
    """A line with the name in front of each; a file that is no image loses nothing of the others."""
    cfg, detector = model
    export_onnx(detector, cfg, tmp_path / 'model.onnx', 'raw', size=(96, 128), runtimes=[])
    (tmp_path / 'photos').mkdir()
    for name in ('a.png', 'b.png'):
        (tmp_path / 'photos' / name).write_bytes(photo.read_bytes())
    (tmp_path / 'photos' / 'c.png').write_text('no image')
    (tmp_path / 'photos' / 'notes.txt').touch()
    arguments = [tmp_path / 'model.onnx', tmp_path / 'photos', '--out', tmp_path / 'out', '--score-thr', '0']
    assert 'run_onnx.py: 1 of 3 images without results' in run_tool('deployment/run_onnx.py', *arguments)
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['a.png', 'b.png']
