"""Images and label maps of semantic segmentation, checked. Imported only if mmseg is there."""

import os.path as osp
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine import fileio
from mmseg.datasets import ADE20KDataset, BaseSegDataset, CityscapesDataset
from mmseg.registry import DATASETS

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.checked_dataset import NamedErrorsMixin
from mmmaskdino.datasets.files import DataError, list_files
from mmmaskdino.datasets.image_loading import LoadCheckedImage
from mmmaskdino.datasets.names import report_missing_files
from mmmaskdino.datasets.pipelines import replace_step
from mmmaskdino.datasets.seg_map_loading import LoadCheckedSegMap


class CheckedSegDatasetMixin(NamedErrorsMixin):
    """Checks that every image has its label map before the first is loaded, and each label map when it is.

    Goes before a subclass of mmseg's `BaseSegDataset`. `LoadImageFromFile` and `LoadAnnotations` in the pipeline become
    :class:`LoadCheckedImage` and :class:`LoadCheckedSegMap`, and an error in the pipeline names the image.

    Args:
        pipeline: Transform configs or built transforms.
        kwargs: The arguments of mmseg's dataset.
    """

    def __init__(self, *, pipeline: Sequence[dict | Callable] = (), **kwargs: Any) -> None:
        pipeline = replace_step(pipeline, 'LoadImageFromFile', LoadCheckedImage)
        pipeline = replace_step(pipeline, 'LoadAnnotations', LoadCheckedSegMap)
        super().__init__(pipeline=pipeline, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the images as mmseg does.

        Returns:
            One entry per image: mmseg's, and `num_classes`.

        Raises:
            DataError: A folder, an image or a label map is missing, or there is no image; all are listed.
        """
        image_folder = self.data_prefix.get('img_path')
        report = AnnotationReport(self._source(), leaves_out=self.on_fault == 'leave_out')
        if not self.ann_file and not fileio.isdir(image_folder, backend_args=self.backend_args):
            raise DataError(f'{image_folder}: no such folder (data_root, data_prefix.img_path)')
        data_list = self._list_images() if self._is_local_folder() else super().load_data_list()
        if not data_list:
            raise DataError(
                f'{image_folder}: no image with suffix {self.img_suffix} (data_prefix.img_path, img_suffix)'
            )
        for key in ('img_path', 'seg_map_path'):
            paths = [(entry[key], entry['img_path']) for entry in data_list if key in entry]
            where = f'data_root, data_prefix.{key}, img_suffix, seg_map_suffix'
            report_missing_files(report, paths, 'image', where, self.backend_args)
        report.raise_errors()
        self._warn_of_unused_labels(data_list, report)
        self._leave_out(report)
        kept = [entry for entry in data_list if entry['img_path'] not in report.left_out]
        if not kept:
            raise DataError(f'{self._source()}: every image is left out; the reasons are in {self.left_out_file}')
        num_classes = len(self.metainfo['classes'])
        return [{**entry, 'num_classes': num_classes} for entry in kept]

    def _is_local_folder(self) -> bool:
        if self.ann_file:
            return False
        backend = fileio.get_file_backend(self.data_prefix.get('img_path'), backend_args=self.backend_args)
        return isinstance(backend, fileio.LocalBackend)

    def _list_images(self) -> list[dict]:
        """As mmseg lists a folder, but without what other programs left there, and each linked folder once."""
        folder, labels = self.data_prefix['img_path'], self.data_prefix.get('seg_map_path')
        shared = dict(label_map=self.label_map, reduce_zero_label=self.reduce_zero_label)
        data_list = []
        for name in list_files(Path(folder), self.img_suffix):
            entry = dict(img_path=osp.join(folder, name), **shared, seg_fields=[])
            if labels is not None:
                entry['seg_map_path'] = osp.join(labels, name.removesuffix(self.img_suffix) + self.seg_map_suffix)
            data_list.append(entry)
        return data_list

    def _source(self) -> str:
        return self.ann_file or self.data_prefix.get('img_path')

    def _warn_of_unused_labels(self, data_list: list[dict], report: AnnotationReport) -> None:
        """Label maps without image are left out, which may be a mistake in a suffix."""
        folder = self.data_prefix.get('seg_map_path')
        if self.ann_file or not folder:
            return
        used = {osp.normpath(entry['seg_map_path']) for entry in data_list}
        names = (
            list_files(Path(folder), self.seg_map_suffix)
            if self._is_local_folder()
            else fileio.list_dir_or_file(
                folder, list_dir=False, suffix=self.seg_map_suffix, recursive=True, backend_args=self.backend_args
            )
        )
        for name in names:
            if osp.normpath(osp.join(folder, name)) not in used:
                report.warn('label maps without image are left out', name)
        report.log_warnings()

    def _place(self, idx: int) -> str:
        return f'image {self.get_data_info(idx)["img_path"]}'


@DATASETS.register_module()
class CheckedSegDataset(CheckedSegDatasetMixin, BaseSegDataset):
    """Any folder of images and folder of label maps; `metainfo` has `classes` and, optionally, `palette`.

    Args:
        kwargs: The arguments of mmseg's `BaseSegDataset`.
    """


@DATASETS.register_module()
class CheckedADE20KDataset(CheckedSegDatasetMixin, ADE20KDataset):
    """ADE20K scene parsing, 150 classes; label 0 of the files is ignored.

    Args:
        kwargs: The arguments of mmseg's `ADE20KDataset`.
    """


@DATASETS.register_module()
class CheckedCityscapesDataset(CheckedSegDatasetMixin, CityscapesDataset):
    """Cityscapes, 19 classes, with label maps of train ids.

    Args:
        kwargs: The arguments of mmseg's `CityscapesDataset`.
    """
