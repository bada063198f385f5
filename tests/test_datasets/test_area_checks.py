"""Areas that cannot be right, and sound ones, which are left alone."""

import pytest

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.area_checks import AreaReader
from mmmaskdino.datasets.mask_checks import Segmentation, read_segmentation

SIZE = (20, 30)
SQUARE = read_segmentation([[2, 3, 12, 3, 12, 11, 2, 11]], SIZE)  # 10 x 8 pixels
LINE = read_segmentation([[2, 3, 12, 11, 12.5, 11, 2.5, 3]], SIZE)  # in the same box


class Case:
    """A file of annotations."""

    def __init__(self) -> None:
        self.report = AnnotationReport('x.json')
        self.reader = AreaReader(self.report, lambda annotation: f'annotation {annotation["id"]}')

    def read(self, *areas: float, box: tuple = (2, 3, 10, 8), mask: Segmentation | None = SQUARE) -> list[float]:
        """The areas of annotations with one box and mask."""
        annotations = [{'id': number, 'bbox': list(box), 'area': area} for number, area in enumerate(areas)]
        for annotation in annotations:
            annotation['area'] = self.reader.read(annotation, mask, SIZE)
        self.reader.mend_small()
        return [annotation['area'] for annotation in annotations]


@pytest.fixture
def case() -> Case:
    return Case()


@pytest.mark.parametrize('area', [1e11, 1e300, 10**300, 1201])
def test_areas_above_image_and_box(case, area) -> None:
    assert case.read(80, area) == [80, 80]
    (remark,) = case.report.remarks.items()
    assert 'above those of image and box; that of the mask is taken' in remark[0] and remark[1] == ['annotation 1']
    assert case.read(80, area, mask=None) == [80, 80]
    assert case.read(1e11, box=(0, 0, 1e9, 1e9), mask=None) == [600], 'the box is no better'


@pytest.mark.parametrize(
    ('area', 'box'),
    [
        (70.5, (2, 3, 10, 8)),  # counted in another way
        (651, (0, 0, 30, 20)),  # up to the last pixel
        (3600, (-30, -20, 60, 60)),  # cut off at the border by another tool
        (5, (2, 3, 10, 8)),  # of a smaller file
    ],
)
def test_areas_that_may_be_right(case, area, box) -> None:
    for mask in (SQUARE, None):
        assert case.read(area, area, box=box, mask=mask) == [area, area]
    assert not case.report.remarks


@pytest.mark.parametrize('mask', [SQUARE, None])
def test_shares_of_the_image(mask) -> None:
    case = Case()
    assert case.read(80 / 600, 80 / 600, mask=mask) == [80, 80]
    (remark,) = case.report.remarks.items()
    assert 'far too small, in all objects of the file' in remark[0] and len(remark[1]) == 2


def test_one_small_area_among_others_is_left(case) -> None:
    assert case.read(0.1, 80, 0.1) == [0.1, 80, 0.1]
    assert not case.report.remarks


def test_what_has_an_area_already_does_not_speak_for_the_rest(case) -> None:
    assert case.read(0.1, 0, 1e11) == [80, 80, 80]


def test_lines_are_small(case) -> None:
    pixels = LINE.count_pixels(SIZE)
    assert 0 < pixels < 10
    assert case.read(pixels / 4, pixels / 4, mask=LINE) == [pixels / 4] * 2
    assert not case.report.remarks


def test_what_has_no_pixel_is_not_mended(case) -> None:
    nothing = read_segmentation([[2, 3, 2.1, 3, 2.1, 3.1]], SIZE)
    assert case.read(0.001, mask=nothing) == [0.001]
    assert not case.report.remarks
