"""Parquet files with the results of many images."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmmaskdino.apis import Predictor, predict_files
from mmmaskdino.apis.inference import records
from mmmaskdino.cli.main import main


@pytest.fixture
def panoptic(model_files) -> Predictor:
    return Predictor(*model_files('panoptic'), device='cpu', score_thr=0.0, max_per_image=3)


def test_parquet_has_what_was_predicted(panoptic, make_image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip('pyarrow.parquet', reason='the extra parquet is not installed', exc_type=ImportError)
    monkeypatch.setattr(records, 'ROWS_AT_ONCE', 2)
    images = [make_image(f'in/{name}.png', (40, 50)) for name in 'abc']
    (tmp_path / 'in' / 'broken.png').write_text('no image')
    kinds = ['instances', 'panoptic', 'semantic']
    summary = predict_files(panoptic, tmp_path / 'in', tmp_path / 'out', save=kinds, result_format='parquet')
    assert (summary.num_done, len(summary.failures)) == (3, 1)
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {'.journal', 'results.parquet'}
    table = parquet.read_table(tmp_path / 'out' / 'results.parquet')
    assert table.schema.equals(records.parquet_schema(kinds))
    rows = table.to_pylist()
    assert [row['file_name'] for row in rows] == ['a.png', 'b.png', 'broken.png', 'c.png']
    broken = rows.pop(2)
    assert 'not an image that can be read' in broken['error'] and broken['instances'] is None
    for path, row in zip(images, rows, strict=True):
        wanted = panoptic(path)
        assert (row['height'], row['width'], row['error']) == (40, 50, None)
        for entry, mask in zip(row['instances'], wanted.sample.pred_instances.masks, strict=True):
            assert np.array_equal(coco_mask.decode(entry['segmentation']), mask.numpy())
        ids, labels = wanted.segments()
        assert [entry['category_id'] - 1 for entry in row['panoptic']] == labels
        for entry in row['panoptic']:
            assert np.array_equal(coco_mask.decode(entry['segmentation']), ids == entry['id'])
        for entry in row['semantic']:
            assert np.array_equal(coco_mask.decode(entry['segmentation']), wanted.labels() == entry['category_id'] - 1)
            assert entry['category'] == wanted.names[entry['category_id'] - 1]


def test_parquet_wants_results_and_pyarrow(panoptic, model_files, make_image, tmp_path: Path, monkeypatch) -> None:
    image, files = make_image('a.png'), model_files('panoptic')
    with pytest.raises(ValueError, match='pictures are no part of a Parquet file'):
        predict_files(panoptic, image, tmp_path / 'out', result_format='parquet')
    with pytest.raises(ValueError, match='coco or parquet, got csv'):
        predict_files(panoptic, image, tmp_path / 'out', result_format='csv')
    argv = ['predict', image, '--config', files.config, '--weights', files.weights, '--format', 'parquet']
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    with pytest.raises(ValueError, match='needs pyarrow'):
        predict_files(panoptic, image, tmp_path / 'out', save=['instances'], result_format='parquet')
    with pytest.raises(SystemExit, match=r'needs pyarrow: pip install "mmmaskdino\[parquet\]"'):
        main([str(word) for word in argv])
