import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mmmaskdino.datasets import DataError, LoadCheckedSegMap
from mmmaskdino.datasets.label_values import label_table, read_label_map

LABELS = np.array([[0, 1, 2], [2, 255, 1]], np.uint8)


@pytest.fixture
def load(tmp_path):
    """Loads an array as a label map of 3 classes."""

    def _load(array, num_classes=3, reduce_zero_label=False, label_map=None, ori_shape=None, name='a.png'):
        path = tmp_path / name
        Image.fromarray(array).save(path)
        results = dict(
            seg_map_path=str(path),
            img_path='a.jpg',
            num_classes=num_classes,
            reduce_zero_label=reduce_zero_label,
            label_map=label_map,
            seg_fields=[],
        )
        if ori_shape:
            results |= dict(ori_shape=ori_shape, img_shape=(7, 7))  # resized since
        return LoadCheckedSegMap().transform(results)['gt_seg_map']

    return _load


def test_labels_stay(load):
    got = load(LABELS)
    assert got.dtype == np.uint8 and np.array_equal(got, LABELS)


@pytest.mark.parametrize(
    'settings',
    [
        dict(),
        dict(num_classes=2, reduce_zero_label=True),
        dict(label_map={0: 255, 1: 0, 2: 1}, num_classes=2),
        dict(label_map={0: 1, 1: 255}, num_classes=1, reduce_zero_label=True),
    ],
)
def test_same_as_mmsegs(load, tmp_path, settings):
    got = load(LABELS, **settings)
    results = dict(seg_map_path=str(tmp_path / 'a.png'), seg_fields=[], reduce_zero_label=False, label_map=None)
    expected = LoadAnnotations().transform(results | settings)['gt_seg_map']
    assert np.array_equal(got, expected)


def test_palette_files_hold_indices(tmp_path):
    image = Image.new('P', (3, 2))
    image.putpalette([255 - i // 3 for i in range(768)])
    image.putdata(LABELS.ravel().tolist())
    image.save(tmp_path / 'a.png')
    assert np.array_equal(read_label_map((tmp_path / 'a.png').read_bytes(), 'a.png'), LABELS)


def test_labels_out_of_range_are_named(load):
    with pytest.raises(DataError, match=r'a.png: labels 2 are no classes; expected 0 to 1, and 255'):
        load(LABELS, num_classes=2)
    with pytest.raises(DataError, match=r'labels 2 are no classes; expected 0 to 1'):
        load(LABELS, num_classes=1, reduce_zero_label=True)
    many = np.arange(200, dtype=np.uint8).reshape(10, 20)
    with pytest.raises(DataError, match=r'labels 3, 4, .*12, \.\.\. \(197 in all\) are no classes'):
        load(many)


def test_other_size_names_both_files(load):
    assert load(LABELS, ori_shape=(2, 3)).shape == (2, 3)
    with pytest.raises(DataError, match=r'a.png: the label map has 3 x 2 pixels .* a.jpg has 2 x 3'):
        load(LABELS, ori_shape=(3, 2))


def test_sixteen_bits(load):
    with pytest.raises(DataError, match=r'a.png: .* mode I;16 with the values 1, 300'):
        load(np.array([[1, 300]], np.uint16))


def test_colours(load):
    with pytest.raises(DataError, match=r'mode RGB with the values \(0, 0, 9\), \(128, 64, 128\)'):
        load(np.array([[[128, 64, 128], [0, 0, 9]]], np.uint8))


@pytest.mark.parametrize('content', [b'', b'no image', b'\x89PNG\r\n\x1a\n1234'])
def test_damaged_file(tmp_path, content):
    path = tmp_path / 'a.png'
    path.write_bytes(content)
    with pytest.raises(DataError, match='a.png'):
        LoadCheckedSegMap().transform(dict(seg_map_path=str(path)))


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match='b.png'):
        LoadCheckedSegMap().transform(dict(seg_map_path=str(tmp_path / 'b.png')))


def test_odd_files(shared_data):
    def load_odd(name):
        path = shared_data / 'odd' / 'semantic_odd' / name
        results = dict(seg_map_path=str(path), num_classes=150, reduce_zero_label=True, label_map=None, seg_fields=[])
        return LoadCheckedSegMap().transform(results)['gt_seg_map']

    assert set(np.unique(load_odd('good_0_1_150.png'))) == {255, 0, 149}
    assert set(np.unique(load_odd('all_ignore_255.png'))) == {255}
    with pytest.raises(DataError, match=r'class_200_out_of_range.png: labels 200 are no classes; expected 0 to 150'):
        load_odd('class_200_out_of_range.png')
    with pytest.raises(DataError, match='sixteen_bit.png'):
        load_odd('sixteen_bit.png')


def test_table():
    table = label_table(dict(num_classes=2, reduce_zero_label=True, label_map={0: 255, 1: 0, 2: 1}))
    assert table[:5].tolist() == [255, 255, 0, 1, -1] and table[254] == -1 and table[255] == 255
