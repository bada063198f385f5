"""COCO panoptic annotations, checked."""

import os.path as osp
from collections import defaultdict
from typing import Any

from mmdet.datasets import CocoPanopticDataset
from mmdet.registry import DATASETS

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.checked_dataset import CheckedDatasetMixin
from mmmaskdino.datasets.names import find_file_name_fault, report_missing_files
from mmmaskdino.datasets.panoptic_checks import PanopticChecker, check_thing_order


@DATASETS.register_module()
class CheckedCocoPanopticDataset(CheckedDatasetMixin, CocoPanopticDataset):
    """mmdet's `CocoPanopticDataset` that says what is wrong with a file instead of leaving it out.

    Errors at start, all at once: missing images, PNGs, lists or keys; images one pixel high or wide; images without
    exactly one entry in `annotations`; metainfo classes that are not the file's, or not things first;
    segments of categories that are no class. Whether the ids of a PNG and of the json agree is checked by
    `LoadCocoPanopticAnnotations`. The PNG is the one that the entry names; mmdet guesses it from the image's name.

    Args:
        kwargs: The arguments of mmdet's `CocoPanopticDataset`.
    """

    def load_data_list(self) -> list[dict]:
        """Read and check the annotation file; see the base class."""
        self.coco = self.COCOAPI()  # mmdet's parse_data_info asks it for the categories
        data_list = super().load_data_list()
        del self.coco
        return data_list

    def _check_annotations(self, content: dict, images: dict, report: AnnotationReport) -> dict[Any, list[dict]]:
        self.coco.cats = {category['id']: category for category in content['categories']}
        check_thing_order([self.coco.cats[cat_id] for cat_id in self.cat_ids], self.metainfo, report)
        if 'annotations' not in content:
            return defaultdict(list)
        entries = content['annotations']
        names = {cat_id: category['name'] for cat_id, category in self.coco.cats.items()}
        PanopticChecker(images, names, self.cat_ids, report).check(entries)
        self._check_pngs([e for e in entries if not find_file_name_fault(e.get('file_name'))], report)
        if report.num_errors:
            return defaultdict(list)
        sound = [entry for entry in entries if entry.get('image_id') not in report.left_out]
        for entry in sound:
            images[entry['image_id']]['segm_file'] = entry['file_name']
        return {
            entry['image_id']: [{**segment, 'image_id': entry['image_id']} for segment in entry['segments_info']]
            for entry in sound
        }

    def _check_pngs(self, entries: list[dict], report: AnnotationReport) -> None:
        if not self.data_prefix.get('seg'):
            report.error(f"data_prefix needs the key 'seg' (folder of the panoptic PNGs), got {self.data_prefix}")
            return
        paths = [(osp.join(self.data_prefix['seg'], entry['file_name']), entry.get('image_id')) for entry in entries]
        what = 'panoptic annotation of image'
        report_missing_files(report, paths, what, 'data_prefix.seg', self.backend_args, 'entries')

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Parse one image as mmdet does, but with the PNG that its entry names.

        Args:
            raw_data_info: `raw_img_info`, with `segm_file` if there are annotations, and `raw_ann_info`.

        Returns:
            mmdet's entry: `img_path`, `img_id`, `seg_map_path`, `height`, `width`, `instances`, `segments_info`.
        """
        data_info = super().parse_data_info(raw_data_info)
        segm_file = raw_data_info['raw_img_info'].get('segm_file')
        data_info['seg_map_path'] = segm_file and osp.join(self.data_prefix['seg'], segm_file)
        return data_info
