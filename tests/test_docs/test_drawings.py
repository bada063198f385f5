"""The drawings are those that the script makes, and nothing of them lies outside."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).resolve().parents[2] / 'docs'
SCRIPT = runpy.run_path(str(DOCS / '_extensions' / 'drawings.py'))


@pytest.mark.parametrize('name', SCRIPT['DRAWINGS'])
def test_drawing(name: str) -> None:
    text = SCRIPT['DRAWINGS'][name]()
    assert (DOCS / 'images' / f'how_{name}.svg').read_text() == text, 'run: python docs/_extensions/drawings.py'
    assert f'images/how_{name}.svg' in (DOCS / 'how_it_works.md').read_text()
    root = ElementTree.fromstring(text)
    width, height = map(float, root.get('viewBox').split()[2:])
    for element in root.iter():
        values = {key: float(value) for key, value in element.attrib.items() if re.fullmatch(r'[\d.]+', value)}
        if element.tag.endswith('rect'):
            x, y = values.get('x', 0), values.get('y', 0)
            assert x + values['width'] <= width and y + values['height'] <= height
        if element.tag.endswith('text'):
            half = len(element.text) * values['font-size'] * 0.27  # half of the mean width of a letter
            assert half <= values['x'] <= width - half and values['y'] <= height, element.text
