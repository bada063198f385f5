"""The drawings of docs/how_it_works.md as SVG: `python docs/_extensions/drawings.py` writes them."""

from __future__ import annotations

from pathlib import Path

IMAGES = Path(__file__).resolve().parents[1] / 'images'
WIDTH = 720
THINGS = ('#e4572e', '#2e86ab')
SKY, GRASS, INK, SOFT = '#cfe6f5', '#b5d99c', '#333333', '#eeeeee'


def text(x: float, y: float, words: str, size: int = 13, color: str = INK) -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="middle" fill="{color}">{words}</text>'


def box(x: float, y: float, w: float, h: float, fill: str = SOFT, line: str = INK, radius: int = 4) -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="{radius}" fill="{fill}" stroke="{line}" '
        'stroke-width="1.5"/>'
    )


def part(x: float, y: float, w: float, h: float, words: str, fill: str = SOFT) -> str:
    """A box with one line of text or several, separated by `|`."""
    lines = words.split('|')
    first = y + h / 2 + 5 - 8 * (len(lines) - 1)
    return box(x, y, w, h, fill) + ''.join(text(x + w / 2, first + 16 * i, line) for i, line in enumerate(lines))


def arrow(x1: float, y1: float, x2: float, y2: float, color: str = INK, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="5 3"' * dashed
    return (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{color}" stroke-width="1.5"{dash} '
        'marker-end="url(#tip)"/>'
    )


def ball(x: float, y: float, radius: float, fill: str, line: str = 'none') -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{fill}" stroke="{line}" stroke-width="1.5"/>'


def page(height: int, *parts: str) -> str:
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    return '\n'.join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
            f'<defs>{tip}<path d="M0 0 L8 4 L0 8 z" fill="{INK}"/></marker></defs>',
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            *parts,
            '</svg>\n',
        ]
    )


def scene(x: float, sky: str, grass: str, balls: tuple[str, str], frames: bool = False) -> str:
    """Two balls on grass under the sky."""
    parts = [box(x, 10, 126, 50, sky, sky, 0), box(x, 60, 126, 50, grass, grass, 0)]
    for i, (dx, radius) in enumerate(((38, 20), (88, 26))):
        parts.append(ball(x + dx, 68, radius, balls[i]))
        if frames:
            parts.append(box(x + dx - radius, 68 - radius, 2 * radius, 2 * radius, 'none', THINGS[i], 0))
    return ''.join(parts)


def tasks() -> str:
    gray, white = '#aaaaaa', '#f7f7f7'
    panels = [
        ('image', SKY, GRASS, (gray, gray), False),
        ('detection', SKY, GRASS, (gray, gray), True),
        ('instances', white, white, THINGS, False),
        ('semantic', '#7fb7e0', '#7dbb57', (THINGS[0], THINGS[0]), False),
        ('panoptic', '#7fb7e0', '#7dbb57', THINGS, False),
    ]
    return page(
        140,
        *(
            scene(12 + 142 * i, sky, grass, balls, frames) + text(75 + 142 * i, 130, name)
            for i, (name, sky, grass, balls, frames) in enumerate(panels)
        ),
    )


def model() -> str:
    return page(
        290,
        part(10, 90, 70, 50, 'image'),
        arrow(80, 115, 104, 115),
        part(106, 90, 92, 50, 'backbone'),
        arrow(198, 115, 222, 115),
        part(224, 90, 100, 50, 'pixel|decoder'),
        arrow(324, 115, 348, 115),
        part(350, 85, 104, 60, 'tokens|of all levels'),
        arrow(402, 85, 402, 60),
        part(350, 20, 104, 40, 'queries'),
        arrow(454, 40, 492, 40),
        arrow(454, 115, 530, 62),
        part(494, 20, 100, 40, 'decoder, 9 x'),
        arrow(594, 40, 618, 40),
        part(620, 14, 90, 22, 'class'),
        part(620, 42, 90, 22, 'box'),
        part(620, 70, 90, 36, 'mask|embedding'),
        arrow(274, 140, 274, 178),
        part(214, 180, 120, 50, 'mask features|one per pixel'),
        arrow(334, 205, 598, 205),
        arrow(665, 106, 622, 194),
        ball(610, 205, 11, 'white', INK),
        text(610, 210, '&#183;', 18),
        arrow(621, 205, 648, 205),
        part(650, 188, 60, 34, 'mask'),
        text(360, 265, 'a query is a vector and a box; what it becomes is one object, or nothing'),
    )


def matching() -> str:
    queries = ['query 1', 'query 2', 'query 3', 'query 4']
    found = [('ball, red', THINGS[0]), ('ball, blue', THINGS[1])]
    parts = [text(110, 22, 'predicted'), text(560, 22, 'annotated')]
    parts += [part(50, 34 + 44 * i, 120, 32, name) for i, name in enumerate(queries)]
    parts += [part(500, 56 + 66 * i, 120, 32, name, '#ffffff') for i, (name, _) in enumerate(found)]
    parts += [arrow(170, 50, 498, 72, THINGS[0]), arrow(170, 138, 498, 138, THINGS[1])]
    parts += [arrow(170, 94, 300, 196, '#888888', True), arrow(170, 182, 300, 204, '#888888', True)]
    parts += [part(302, 188, 120, 32, 'no object')]
    parts += [
        text(334, 52, 'cost = class + box + mask', 12),
        text(360, 248, 'each object gets one query, so that all costs together are lowest'),
    ]
    return page(262, *parts)


def denoising() -> str:
    return page(
        190,
        part(10, 20, 130, 40, 'annotated box|and class'),
        arrow(140, 40, 176, 40),
        part(178, 20, 130, 40, 'moved, scaled,|class exchanged'),
        arrow(308, 40, 344, 40),
        part(346, 42, 110, 70, 'decoder'),
        part(178, 94, 130, 40, 'selected queries'),
        arrow(308, 114, 344, 114),
        arrow(456, 58, 498, 40),
        arrow(456, 98, 498, 114),
        part(500, 20, 210, 40, 'must become its own|object: no matching'),
        part(500, 94, 210, 40, 'become objects|by matching'),
        text(335, 160, 'neither sees the other; at test time only the lower row exists'),
    )


def selection() -> str:
    parts = [
        text(125, 20, 'tokens: each proposes'),
        text(395, 20, 'the surest become queries'),
        text(615, 20, 'their start'),
    ]
    chosen = {(1, 3), (4, 2), (5, 2), (2, 1)}
    for row in range(5):
        for column in range(7):
            fill = THINGS[0] if (column, row) in chosen else '#dddddd'
            parts.append(ball(35 + 30 * column, 45 + 26 * row, 5 + 4 * ((column, row) in chosen), fill))
    parts.append(arrow(240, 97, 300, 97))
    for i in range(4):
        parts.append(part(320, 34 + 34 * i, 150, 26, f'query {i + 1}'))
        parts.append(arrow(470, 47 + 34 * i, 528, 47 + 34 * i))
    parts.append(part(530, 34, 170, 60, 'box: around its|own predicted mask'))
    parts.append(part(530, 104, 170, 60, 'class and mask: judged|before any decoder layer'))
    return page(186, *parts)


DRAWINGS = dict(tasks=tasks, model=model, matching=matching, denoising=denoising, selection=selection)

if __name__ == '__main__':
    for name, draw in DRAWINGS.items():
        (IMAGES / f'how_{name}.svg').write_text(draw(), encoding='utf-8')
