"""What the COCO datasets of this package add to mmdet's: nothing is left out silently."""

import os.path as osp
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from mmengine.logging import print_log

from mmmaskdino.datasets.annotation_report import AnnotationReport
from mmmaskdino.datasets.coco_checks import check_categories, check_lists, index_images, read_json, tidy
from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.image_loading import LoadCheckedImage
from mmmaskdino.datasets.left_out import LeftOutList, check_on_fault
from mmmaskdino.datasets.names import report_missing_files
from mmmaskdino.datasets.pipelines import replace_step

# Settings of mmdet's and mmcv's transforms with which they return None for some images; mmengine then takes another
# image in their place, so that for instance images without objects are never trained on.
SKIPPING_SETTINGS = {
    'allow_negative_crop': False,
    'keep_empty': True,
    'skip_img_without_anno': True,
    'ignore_empty': True,
}


class NamedErrorsMixin:
    """Lets an error in the pipeline name the image. Goes before a dataset class.

    Args:
        on_fault: What is done about images whose files or annotations are faulty: `error`, or, for training,
            `leave_out`. Faults of the config or of a whole file are errors always.
        left_out_file: With `leave_out` the path of the file that lists the images that were left out; one json object
            per line, with the reasons.
        kwargs: The arguments of the dataset class.
    """

    def __init__(self, *, on_fault: str = 'error', left_out_file: str | None = None, **kwargs: Any) -> None:
        check_on_fault(on_fault, left_out_file, kwargs.get('test_mode', False))
        self.on_fault = on_fault
        self.left_out_file = left_out_file
        super().__init__(**kwargs)

    @cached_property
    def left_out(self) -> LeftOutList | None:
        """The list of what is left out; None where faults are errors."""
        return LeftOutList(self.left_out_file, self._source()) if self.on_fault == 'leave_out' else None

    def _source(self) -> str:
        """Annotation file or folder, for people."""
        return self.ann_file

    def _leave_out(self, report: AnnotationReport) -> None:
        """Write down what a report leaves out."""
        for image, problems in report.left_out.items():
            self.left_out.add(image, problems)

    def prepare_data(self, idx: int) -> dict:
        """Run the pipeline on one image.

        Args:
            idx: Index of the image.

        Returns:
            What the pipeline returns; None, for which mmengine takes another image, if the image is left out.

        Raises:
            DataError: The pipeline failed, or returned None, for which mmengine would silently take another image.
        """
        try:
            data = super().prepare_data(idx)
        except Exception as error:
            if isinstance(error, DataError) and self.left_out is not None:
                self.left_out.add(self.get_data_info(idx)['img_path'], [str(error)])
                return None
            cause = str(error) if isinstance(error, DataError) else f'{type(error).__name__}: {error}'
            raise DataError(f'{self._place(idx)}: {cause}') from error
        if data is None:
            raise DataError(
                f'{self._place(idx)}: a transform of the pipeline returned None, which would skip the image'
            )
        return data

    def _place(self, idx: int) -> str:
        """Which image it is, for people."""
        raise NotImplementedError


class CheckedDatasetMixin(NamedErrorsMixin):
    """Checks the annotation file, the presence of all files and the pipeline before the first image is loaded.

    Goes before a subclass of mmdet's `CocoDataset`. All problems of a file are raised as one error that lists them;
    odd cases with which work can rightly go on are logged as one warning. `LoadImageFromFile` in the pipeline becomes
    :class:`LoadCheckedImage`, and an error in the pipeline names the image.

    Args:
        pipeline: Transform configs or built transforms.
        kwargs: The arguments of mmdet's dataset.
    """

    def __init__(self, *, pipeline: Sequence[dict | Callable] = (), **kwargs: Any) -> None:
        super().__init__(pipeline=replace_step(pipeline, 'LoadImageFromFile', LoadCheckedImage), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read and check the annotation file.

        Returns:
            One entry per image in the order of the file, as mmdet's `parse_data_info` makes them.

        Raises:
            DataError: The file, the files it names or the config have problems; all are listed.
        """
        report = AnnotationReport(self.ann_file, leaves_out=self.on_fault == 'leave_out')
        self._check_config(report)
        content = self._read_annotations()
        check_lists(content, report, annotations_optional=self.test_mode)
        content = tidy(content, report)
        images = index_images(content['images'], report)
        self.cat_ids = check_categories(content['categories'], self.metainfo['classes'], report)
        self.cat2label = {cat_id: label for label, cat_id in enumerate(self.cat_ids)}
        annotations = self._check_annotations(content, images, report)
        self._check_files([image for image in images.values() if image is not None], report)
        report.raise_errors()
        report.log_warnings()
        self._leave_out(report)
        kept = {image_id: image for image_id, image in images.items() if image_id not in report.left_out}
        if not kept:
            raise DataError(f'{self.ann_file}: every image is left out; the reasons are in {self.left_out_file}')
        return [
            self.parse_data_info({'raw_img_info': {**image, 'img_id': image_id}, 'raw_ann_info': annotations[image_id]})
            for image_id, image in kept.items()
        ]

    def _check_annotations(self, content: dict, images: dict, report: AnnotationReport) -> dict[Any, list[dict]]:
        """Check the annotations of the file.

        Args:
            content: The parsed json file; its lists are there.
            images: Entry of each image id, None for a faulty one.
            report: Collects the problems.

        Returns:
            What `parse_data_info` gets as `raw_ann_info`, by image id; a defaultdict.
        """
        raise NotImplementedError

    def _check_config(self, report: AnnotationReport) -> None:
        if 'img' not in self.data_prefix:
            report.error(f"data_prefix needs the key 'img' (folder of the images), got {self.data_prefix}")
        for transform in iterate_transforms(self.pipeline):
            for name, value in SKIPPING_SETTINGS.items():
                if getattr(transform, name, None) is value and not self.test_mode:
                    report.error(
                        f'{type(transform).__name__}({name}={value}) in the pipeline would skip images without '
                        f'objects; set {name}={not value}'
                    )
        report.raise_errors()

    def _read_annotations(self) -> Any:
        return read_json(self.ann_file, self.backend_args)

    def _check_files(self, images: list[dict], report: AnnotationReport) -> None:
        paths = [(osp.join(self.data_prefix['img'], image['file_name']), image['id']) for image in images]
        report_missing_files(report, paths, 'image', 'data_root, data_prefix.img and file_name', self.backend_args)

    def filter_data(self) -> list[dict]:
        """Filter as `filter_cfg` says, and say how many images that leaves out.

        Returns:
            The entries that are kept, at least one.

        Raises:
            DataError: None is left.
        """
        kept = super().filter_data()
        num_all = len(self.data_list)
        if not kept:
            raise DataError(f'{self.ann_file}: filter_cfg={self.filter_cfg} leaves none of {num_all} images; relax it')
        if len(kept) < num_all:
            num_dropped = num_all - len(kept)
            print_log(
                f'{self.ann_file}: filter_cfg={self.filter_cfg} leaves out {num_dropped} of {num_all} images', 'current'
            )
        return kept

    def _place(self, idx: int) -> str:
        data_info = self.get_data_info(idx)
        return f'image {data_info["img_id"]} ({data_info["img_path"]}) of {self.ann_file}'


def iterate_transforms(transform: Any) -> Iterator[Any]:
    """Walk through a pipeline, also into the transforms that wrap others.

    Args:
        transform: A pipeline, transform or list of them.

    Yields:
        Each transform and each wrapper.
    """
    if isinstance(transform, (list, tuple)):
        for part in transform:
            yield from iterate_transforms(part)
    else:
        yield transform
        yield from iterate_transforms(getattr(transform, 'transforms', ()))
