"""The page: photograph on the left, result on the right."""

from __future__ import annotations

import logging

import gradio as gr
import numpy as np
from gradio.data_classes import ImageData

from mmmaskdino.datasets.files import DataError

from .viewer import Thresholds, Viewer

HEADERS = ['class', 'score', '% of the picture']
BOX_MARGIN = 0.1  # of a model whose config has none


def build_page(viewer: Viewer, title: str = 'Mask DINO') -> gr.Blocks:
    """Lay the page out.

    Args:
        viewer (Viewer): Predicts and draws.
        title (str): Heading.

    Returns:
        gr.Blocks: To be launched.
    """
    with gr.Blocks(title=title, analytics_enabled=False) as page:
        gr.Markdown(f'# {title}')
        with gr.Row():
            with gr.Column():
                photo = gr.Image(
                    type='filepath', image_mode=None, sources=['upload', 'webcam', 'clipboard'], label='photograph'
                )
                photo.preprocess = _path_of  # unread: the viewer says what is wrong with a file that is no image
                view = gr.Radio(viewer.views, value=viewer.views[0], label='show')
                sliders, cut = _sliders(viewer.thresholds), _cut(viewer)
                button = gr.Button('Predict', variant='primary')
            with gr.Column():
                picture = gr.Image(
                    label='result',
                    interactive=False,
                    format='png',
                    elem_id='result',
                    buttons=['download', 'fullscreen'],
                )
                table = gr.Dataframe(headers=HEADERS, label='found', interactive=False)
        inputs, outputs = [photo, view, *sliders, *cut], [picture, table]
        show = _show(viewer)
        button.click(show, inputs, outputs, api_name='predict')
        photo.input(show, inputs, outputs, api_name=False, trigger_mode='always_last')
        view.input(show, inputs, outputs, api_name=False, trigger_mode='always_last')
        for slider in sliders:
            slider.release(show, inputs, outputs, api_name=False, trigger_mode='always_last')
        for box in cut:
            box.input(show, inputs, outputs, api_name=False, trigger_mode='always_last')
    return page


def _path_of(payload: ImageData | None) -> str | None:
    """Path of an uploaded file."""
    return payload and payload.path


def _sliders(thresholds: Thresholds | None) -> list[gr.Slider]:
    """One per threshold that is a number, in the order of :class:`Thresholds`."""
    if thresholds is None:
        return []
    return [
        gr.Slider(0, 1, thresholds.score_thr, step=0.01, label='objects: lowest score'),
        gr.Slider(1, 300, min(thresholds.max_per_image, 300), step=1, label='objects: at most'),
        gr.Slider(0, 1, thresholds.object_mask_thr, step=0.01, label='panoptic: lowest class score'),
        gr.Slider(0, 1, thresholds.overlap_thr, step=0.01, label='panoptic: least visible share'),
    ]


def _cut(viewer: Viewer) -> list[gr.Checkbox]:
    """The switch of :attr:`Thresholds.box_margin`; hidden where there are no masks."""
    if viewer.thresholds is None:
        return []
    on, with_masks = viewer.thresholds.box_margin is not None, viewer.views != ['boxes']
    return [gr.Checkbox(on, label='objects: end masks where their box ends', visible=with_masks)]


def _thresholds(viewer: Viewer, values: tuple) -> Thresholds | None:
    """What the controls of the page say."""
    if not values:
        return None
    *numbers, cut = values
    margin = viewer.thresholds.box_margin
    given = Thresholds(*numbers, box_margin=(BOX_MARGIN if margin is None else margin) if cut else None)
    return given._replace(max_per_image=int(given.max_per_image))


def _table(rows: list[list]) -> dict[str, list]:
    """As gradio takes it; segments have no scores, and so no column for them."""
    columns = [i for i in range(len(HEADERS)) if i != 1 or any(row[1] is not None for row in rows)]
    return dict(headers=[HEADERS[i] for i in columns], data=[[row[i] for i in columns] for row in rows])


def _show(viewer: Viewer):
    """The function behind the page; what goes wrong becomes a message on it."""

    def show(path: str | None, view: str, *thresholds: float | bool) -> tuple[np.ndarray, dict]:
        if path is None:
            raise gr.Error('Choose a photograph first, or take one with the camera.', print_exception=False)
        try:
            picture, rows = viewer.show(path, view, _thresholds(viewer, thresholds))
            return picture, _table(rows)
        except (DataError, ValueError) as error:
            message = str(error).removeprefix(f'{path}: ').replace(path, 'the photograph')
            raise gr.Error(message, print_exception=False) from None
        except Exception as error:  # a page must not die of one photograph; the reason is in the terminal
            logging.getLogger(__name__).exception('prediction failed')
            raise gr.Error(f'The prediction failed ({type(error).__name__}); see the terminal.') from error

    return show
