"""The page in a real browser without a window."""

import os
import shutil
import time
from io import BytesIO

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image
from playwright.sync_api import Error, expect, sync_playwright

from mmmaskdino.page.app import _table, build_page
from mmmaskdino.page.viewer import Thresholds

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
ALL = Thresholds(score_thr=0.0, max_per_image=20, object_mask_thr=0.0, overlap_thr=0.0)
TIMEOUT = 60_000  # milliseconds; a busy machine takes a while for the first prediction


@pytest.fixture(scope='module')
def browser():
    """Chromium of the system or of playwright; as root it has to run without its sandbox."""
    system = next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=system, args=['--no-sandbox', '--disable-gpu'])
        except Error as error:
            message = f'no browser: apt-get install chromium, or python -m playwright install chromium ({error})'
            pytest.fail(message) if os.environ.get('CI') == 'true' else pytest.skip(message)
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def url(viewer):
    """Address of the page; its thresholds let everything through."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(viewer), 'thresholds', ALL)
        page = build_page(viewer, 'Mask DINO: a test')
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, share=False)
    yield address
    page.close()


@pytest.fixture
def page(browser, url):
    page = browser.new_page()
    page.set_default_timeout(TIMEOUT)
    page.goto(url)
    yield page
    page.close()


def upload(page, path):
    page.locator('input[type=file]').first.set_input_files(path)


def expect_picture(page, expected):
    """Wait until the result is this picture (h, w, 3)."""
    end = time.monotonic() + TIMEOUT / 1000
    while not np.array_equal(result(page), expected):
        assert time.monotonic() < end, 'the expected picture did not appear'
        page.wait_for_timeout(200)


def result(page):
    """The picture on the right as an array, or None while it is being replaced."""
    source = page.locator('#result img')
    source.wait_for()
    try:
        return np.asarray(Image.open(BytesIO(page.request.get(source.get_attribute('src')).body())).convert('RGB'))
    except (Error, OSError):
        return None


def test_photograph_gives_a_picture(page, photo, viewer):
    upload(page, photo)
    expect_picture(page, viewer.show(photo, 'panoptic', ALL).picture)
    page.get_by_role('button', name='Predict').click()
    expect_picture(page, viewer.show(photo, 'panoptic', ALL).picture)


def test_no_image_gives_a_message(page, no_image):
    upload(page, no_image)
    expect(page.get_by_text('not an image').first).to_be_visible()
    assert 'Traceback' not in page.content() and str(no_image.parent) not in page.content()


def test_no_photograph_gives_a_message(page):
    page.get_by_role('button', name='Predict').click()
    expect(page.get_by_text('Choose a photograph first').first).to_be_visible()


def test_switch_reaches_the_model(url, photo, viewer):
    client = Client(url, verbose=False)
    for cut, margin in ((False, None), (True, 0.1)):
        picture, _ = client.predict(handle_file(photo), 'boxes and masks', *ALL[:4], cut, api_name='/predict')
        expected = viewer.show(photo, 'boxes and masks', ALL._replace(box_margin=margin)).picture
        assert np.array_equal(np.asarray(Image.open(picture).convert('RGB')), expected)


def test_switch_ends_masks_at_their_boxes(page, photo, viewer):
    page.get_by_label('boxes and masks').check()
    upload(page, photo)
    whole, cut = (viewer.show(photo, 'boxes and masks', ALL._replace(box_margin=x)).picture for x in (None, 0.1))
    assert not np.array_equal(whole, cut)
    expect_picture(page, whole)
    switch = page.get_by_label('end masks where their box ends')
    switch.check()
    expect_picture(page, cut)
    switch.uncheck()
    expect_picture(page, whole)


def test_other_view_and_slider(page, photo, viewer):
    upload(page, photo)
    expect_picture(page, viewer.show(photo, 'panoptic', ALL).picture)
    page.get_by_label('boxes and masks').check()
    number = page.get_by_label('number input for objects: at most')
    number.fill('3')
    number.press('Enter')
    page.get_by_role('button', name='Predict').click()
    expected = viewer.show(photo, 'boxes and masks', ALL._replace(max_per_image=3))
    expect_picture(page, expected.picture)
    expect(page.get_by_text(str(expected.rows[-1][1])).first).to_be_visible()


def test_a_table_of_segments_has_no_column_for_scores():
    assert _table([['sky', None, 60.0]]) == dict(headers=['class', '% of the picture'], data=[['sky', 60.0]])
    assert _table([['dog', 0.9, 6.0]])['headers'] == ['class', 'score', '% of the picture']
