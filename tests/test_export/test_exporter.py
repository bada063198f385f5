"""ONNX files of small models: what they compute, what they say about themselves, and what is rejected."""

import json

import onnx
import onnxruntime
import pytest
import torch

from mmmaskdino.export import exporter
from mmmaskdino.export.check import CheckError, check_file, read_photo
from mmmaskdino.export.exporter import export_onnx
from mmmaskdino.export.network import ExportedNetwork

SIZES = [(160, 224), (256, 320)]
TRACED = (128, 160)


@pytest.fixture
def export(small_config, make_clear_model, tmp_path, monkeypatch):
    """Exports a small model; returns the config, the network and the export."""
    monkeypatch.setattr(exporter, 'OTHER_SIZE', (160, 96))

    def _export(kind, outputs='raw', changes=None, **options):
        cfg = small_config(kind)
        cfg.merge_from_dict(changes or {})
        model = make_clear_model(cfg)
        done = export_onnx(model, cfg, tmp_path / 'model.onnx', outputs, traced_size=TRACED, **options)
        return cfg, ExportedNetwork(model, outputs == 'results'), done

    return _export


@pytest.fixture(scope='session')
def photos(shared_data):
    found = sorted((shared_data / 'photos').glob('*.jpg'))
    assert len(found) == 11
    return found


@pytest.mark.parametrize('outputs', ['raw', 'results'])
@pytest.mark.parametrize('kind', ['instance', 'panoptic', 'semantic'])
def test_photographs_at_two_sizes(export, photos, kind, outputs):
    """One photograph at the one size, the next at the other."""
    cfg, network, done = export(kind, outputs, runtimes=[])
    inputs = [read_photo(photo, cfg, network, SIZES[i % 2], None) for i, photo in enumerate(photos)]
    agreements = check_file(network, done.path, 'onnxruntime', inputs)  # raises where they differ
    assert len(agreements) == 11 and {agreement.canvas for agreement in agreements} == set(SIZES)


@pytest.mark.parametrize('outputs', ['raw', 'results'])
def test_openvino(export, outputs):
    _, _, done = export('panoptic', outputs, runtimes=['openvino'])
    assert [agreement.runtime for agreement in done.agreements] == ['openvino'] * 3


def test_masks_cut_to_their_boxes(export):
    _, network, done = export(
        'panoptic', 'results', {'model.test_cfg.box_margin': 0.1}, runtimes=['onnxruntime', 'openvino']
    )
    assert network.fusion.settings.box_margin == 0.1
    assert {agreement.runtime for agreement in done.agreements} == {'onnxruntime', 'openvino'}


def test_boxes_that_agree_with_their_masks(export):
    changes = {'model.test_cfg.mask_box_weight': 0.5}
    _, network, done = export('panoptic', 'results', changes, runtimes=['onnxruntime', 'openvino'])
    assert network.fusion.settings.mask_box_weight == 0.5
    assert {agreement.runtime for agreement in done.agreements} == {'onnxruntime', 'openvino'}


def test_masks_that_know_their_boxes(export):
    changes = {'model.panoptic_head.box_prior': dict(type='BoxPrior', strength=2.0), 'model.test_cfg.box_margin': 0.1}
    for outputs in ('raw', 'results'):
        _, network, done = export('panoptic', outputs, changes, runtimes=['onnxruntime', 'openvino'])
        assert network.head.heads.box_prior.strength == 2
        assert {agreement.runtime for agreement in done.agreements} == {'onnxruntime', 'openvino'}


def test_de_imbalanced_start(export):
    changes = {'model.panoptic_head.query_init': dict(type='DeImbalancedQuerySelection', num_candidates=40, ffn_dim=48)}
    _, network, done = export('panoptic', 'raw', changes, runtimes=['onnxruntime', 'openvino'])
    assert len(network.head.query_init.layers) == 2
    assert {agreement.runtime for agreement in done.agreements} == {'onnxruntime', 'openvino'}


def test_fixed_size(export):
    _, _, done = export('detection', 'results', size=(96, 128))
    assert {agreement.canvas for agreement in done.agreements} == {(96, 128)}
    assert {agreement.image for agreement in done.agreements} == {(96, 128), (56, 111)}
    images, image_size = onnxruntime.InferenceSession(str(done.path)).get_inputs()
    assert images.shape == [1, 3, 96, 128] and image_size.shape == [2]
    stored = {key: json.loads(value) for key, value in metadata(done).items()}
    assert stored['input_size'] == [96, 128] and stored['resize'] == [1333, 800]


def test_without_instances_and_segments(export):
    changes = {'model.test_cfg.score_thr': 1.0, 'model.test_cfg.object_mask_thr': 1.0}
    _, network, done = export('panoptic', 'results', changes)  # checked: nothing found is no error
    session = onnxruntime.InferenceSession(str(done.path))
    found = session.run(None, dict(images=torch.randn(1, 3, *TRACED).numpy(), image_size=[128, 160]))
    found = dict(zip(network.output_names, found, strict=True))
    assert len(found['scores']) == len(found['masks']) == 0
    assert (found['panoptic'] == 10).all()


def test_metadata(export):
    cfg, _, done = export('panoptic', 'results')
    stored = {key: json.loads(value) for key, value in metadata(done).items()}
    assert stored == json.loads(json.dumps(done.metadata))
    assert stored['classes'] == list(cfg.metainfo.classes) and stored['num_thing_classes'] == 6
    assert stored['mean'] == pytest.approx(cfg.model.data_preprocessor.mean)
    assert stored['std'] == pytest.approx(cfg.model.data_preprocessor.std)
    assert stored['channels'] == 'RGB' and stored['input_size'] is None and stored['resize'] is None
    assert stored['outputs'] == 'results' and stored['scores'] == 'sigmoid' and stored['size_divisor'] == 32


def test_opset(export):
    _, _, done = export('detection', opset=16)
    assert onnx.load(done.path).opset_import[0].version == 16
    with pytest.raises(ValueError, match='at least 16; got 15'):
        export('detection', opset=15)


@pytest.mark.parametrize('size', [(100, 128), (32, 32)])
def test_sizes_that_are_rejected(export, size):
    with pytest.raises(ValueError, match='multiples of 32, at least 64'):
        export('detection', size=size)


def test_other_weights_are_found_out(export, tmp_path, monkeypatch):
    write = exporter.write_onnx

    def write_other(network, *args):
        write(network, *args)
        with torch.no_grad():
            network.head.heads.locate.layers[-1].bias.add_(0.01)

    monkeypatch.setattr(exporter, 'write_onnx', write_other)
    with pytest.raises(CheckError, match=r'onnxruntime and PyTorch differ by more than 0.001: .*boxes .*\(128, 160\)'):
        export('detection')
    assert [path.name for path in tmp_path.iterdir()] == ['model.failed.onnx']


def metadata(done):
    return onnxruntime.InferenceSession(str(done.path)).get_modelmeta().custom_metadata_map
