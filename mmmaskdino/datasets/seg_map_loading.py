"""Reading label maps of semantic segmentation so that a wrong file is an error that names it."""

from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS

from mmmaskdino.datasets.files import DataError, read_file
from mmmaskdino.datasets.label_values import label_table, map_labels, read_label_map


@TRANSFORMS.register_module()
class LoadCheckedSegMap(LoadAnnotations):
    """Load a label map like mmseg's `LoadAnnotations`, but reject what that would pass on damaged.

    mmseg cuts labels to 8 bits, takes the three channels of an RGB file for a map, and lets labels through that are no
    class.

    Required Keys:

    - seg_map_path, reduce_zero_label, label_map, num_classes, as :class:`CheckedSegDatasetMixin` gives them
    - ori_shape (optional; (h, w) of the image as it was loaded: it may have been resized since)

    Added Keys:

    - gt_seg_map: (h, w) uint8, class indices, 255 where nothing is labelled

    Takes the arguments of mmseg's `LoadAnnotations`.
    """

    def _load_seg_map(self, results: dict) -> None:
        path = results['seg_map_path']
        labels = read_label_map(read_file(path, self.backend_args), path)
        shape = results.get('ori_shape', labels.shape)[:2]
        if labels.shape != tuple(shape):
            raise DataError(
                f'{path}: the label map has {labels.shape[1]} x {labels.shape[0]} pixels (width x height), its image '
                f'{results.get("img_path")} has {shape[1]} x {shape[0]}; both must be of one size'
            )
        results['gt_seg_map'] = map_labels(labels, label_table(results), path)
        results['seg_fields'].append('gt_seg_map')
