"""What mmdet's `DetInferencer` lacks for panoptic results."""

from mmdet.apis import det_inferencer

from mmmaskdino.datasets.panoptic_png import ids_to_rgb
from mmmaskdino.evaluation.panoptic_quality import VOID


def complete_det_inferencer() -> None:
    """Let mmdet's `DetInferencer` return and save panoptic results without panopticapi.

    It takes two names from that package, which no package index has, and rejects panoptic results where it is missing.
    Only then this package's equivalents take their place.
    """
    if det_inferencer.VOID is None:
        det_inferencer.VOID = VOID
        det_inferencer.id2rgb = ids_to_rgb
