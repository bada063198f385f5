"""Figures of several trainings; reading and keeping them is tested with the tool, in test_compare_models.py."""

import json

import pytest
from measuring.series import Figures, Records, Run, draw_series, making, read_figures

RUN = Run('Mask DINO', 400, 2e-3, 0)
MAKINGS = {'Mask DINO': 'abc'}


def test_curves_are_means_from_least_to_most_by_steps_and_by_time(tmp_path):
    """Of evaluations that all seeds have: one that was interrupted has lost its first."""
    records = Records(tmp_path / 'records.json', MAKINGS)
    records.add(RUN, Figures(0.5, {'box AP': [[100, 200, 400], [1.0, 10.0, 30.0]]}))
    records.add(RUN._replace(seed=1), Figures(1.5, {'box AP': [[200, 400], [20.0, 40.0]]}))
    by_steps, by_time = draw_series(records, [RUN, RUN._replace(seed=1)]).axes
    for panel, x in ((by_steps, [200, 400]), (by_time, [200 / 60, 400 / 60])):  # a second a step is in the middle
        (line,) = panel.lines
        assert [*line.get_xdata()] == x and [*line.get_ydata()] == [15.0, 35.0]
        (band,) = panel.collections
        assert {tuple(point) for point in band.get_paths()[0].vertices} >= {(x[0], 10.0), (x[1], 40.0)}
    assert by_steps.get_ylabel() == 'box AP, %' and by_time.get_xlabel() == 'minutes of training'


@pytest.mark.parametrize(('step', 'iterations'), [(260, 260), (250, 250), (1, 250)], ids=['own', 'logged', 'epochs'])
def test_an_evaluation_stands_at_its_iteration(tmp_path, step, iterations):
    """Also between two logged steps of the training, and where mmengine counts metrics by epochs."""
    log = tmp_path / '20300101_000000' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    lines = [*(dict(loss=1.0, time=0.5, step=at) for at in range(50, 251, 50)), {'coco/bbox_mAP': 0.4, 'step': step}]
    log.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    assert read_figures(tmp_path, iterations) == Figures(0.5, {'box AP': [[iterations], [40.0]]})
    assert read_figures(tmp_path, iterations + 50) is None


def test_records_are_read_back(tmp_path):
    path = tmp_path / 'records.json'
    figures = Figures(0.5, {'PQ': [[400], [80.5]]})
    Records(path, MAKINGS).add(RUN, figures)
    assert RUN in Records(path, MAKINGS) and Records(path, MAKINGS)[RUN] == figures
    assert RUN._replace(rate=1e-3) not in Records(path, MAKINGS)
    assert RUN in Records(path, {'another': 'abc'}), 'series of other models may share a file'


def config(rate=1e-3, root='a', ann_file='x/train.json'):
    dataset = dict(type='CocoDataset', data_root=root, ann_file=ann_file)
    return dict(model=dict(type='MaskDINO', rate=rate), train_dataloader=dict(dataset=dataset))


@pytest.mark.parametrize(
    ('wanted', 'options'),
    [(config(), ['a=1']), (config(2e-3), []), (config(ann_file='x/part.json'), []), (config(root='data/b/'), [])],
)
def test_records_that_were_made_otherwise_are_not_taken(tmp_path, wanted, options):
    path = tmp_path / 'records.json'
    Records(path, {RUN.model: making(config(), [])}).add(RUN, Figures(0.5, {'PQ': [[400], [80.5]]}))
    assert RUN in Records(path, {RUN.model: making(config(root='/elsewhere/a/', ann_file='y/train.json'), [])})
    with pytest.raises(ValueError, match=r'records.json is of trainings with another config .*another --work-dir'):
        Records(path, {RUN.model: making(wanted, options)})


def test_a_model_has_one_colour_in_all_panels(tmp_path):
    records = Records(tmp_path / 'records.json', dict.fromkeys(('DINO', 'A', 'B'), ''))
    runs = [Run(name, 400, 2e-3, 0) for name in ('A', 'DINO', 'B')]
    for run in runs:
        masks = {} if run.model == 'DINO' else {'mask AP': [[400], [1.0]]}
        records.add(run, Figures(0.5, {'box AP': [[400], [1.0]], **masks}))
    figure = draw_series(records, runs)
    colors = {}
    for panel in figure.axes:
        for line in panel.lines:
            colors.setdefault(line.get_label(), set()).add(line.get_color())
    assert len(colors) == 3 and all(len(found) == 1 for found in colors.values())
    assert len(set.union(*colors.values())) == 3
    assert len(figure.axes[0].get_legend().get_texts()) == 3
