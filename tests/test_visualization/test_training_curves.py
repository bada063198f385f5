"""Curves from mmengine's log."""

import json

import pytest

from mmmaskdino.visualization.training_curves import draw_curves, read_scalars


def write(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(map(json.dumps, records)))
    return path


@pytest.fixture
def log(tmp_path):
    return write(
        tmp_path / 'run' / '20260101_000000' / 'vis_data' / 'scalars.json',
        dict(loss=9.0, loss_cls=1.0, **{'d0.loss_cls': 2.0}, lr=1e-3, iter=50, step=50, memory=1),
        dict(loss=8.0, loss_cls=0.9, **{'d0.loss_cls': 1.9}, lr=1e-3, iter=100, step=100),
        {'coco/bbox_mAP': 0.1, 'coco/bbox_mAP_50': 0.2, 'step': 0},
        dict(loss=7.0, loss_cls=0.8, lr=1e-4, iter=150, step=150),
        {'coco/bbox_mAP': 0.3, 'coco/bbox_mAP_50': 0.4, 'step': 0},
    )


def test_metrics_belong_to_the_iterations_before_them(log):
    curves = read_scalars(log)
    assert curves['loss'] == ([50, 100, 150], [9.0, 8.0, 7.0])
    assert curves['coco/bbox_mAP'] == ([100, 150], [0.1, 0.3])


def test_metrics_alone_keep_their_step(tmp_path):
    assert read_scalars(write(tmp_path / 's.json', dict(pq=50.0, step=3)))['pq'] == ([3], [50.0])


def test_last_run_of_a_work_dir(log, tmp_path):
    write(tmp_path / 'run' / '20260102_000000' / 'vis_data' / 'scalars.json', dict(loss=1.0, iter=5, step=5))
    assert read_scalars(tmp_path / 'run')['loss'] == ([5], [1.0])


def test_panels(log):
    curves = read_scalars(log)
    figure = draw_curves(dict(a=curves, b=curves))
    titles = [panel.get_title() for panel in figure.axes if panel.axison]
    assert titles == ['loss', 'lr', 'loss_cls', 'coco/bbox_mAP']
    assert [list(line.get_ydata()) for line in figure.axes[0].lines] == [[9.0, 8.0, 7.0]] * 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['a', 'b']
    titles = [panel.get_title() for panel in draw_curves(dict(a=curves), 'nothing').axes if panel.axison]
    assert titles[-2:] == ['coco/bbox_mAP', 'coco/bbox_mAP_50']


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match='no vis_data/scalars.json'):
        read_scalars(tmp_path)
    with pytest.raises(FileNotFoundError, match='no such file'):
        read_scalars(tmp_path / 'nowhere')
    path = write(tmp_path / 'scalars.json', dict(loss=1.0, step=1), dict(loss=1.0))
    with pytest.raises(ValueError, match="line 2: expected a record of mmengine's log, got '{"):
        read_scalars(path)
    path.write_text('')
    with pytest.raises(ValueError, match='has no numbers'):
        read_scalars(path)
