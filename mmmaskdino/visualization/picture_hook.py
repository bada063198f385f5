"""A picture after each evaluation of a training."""

from __future__ import annotations

from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmmaskdino.visualization.comparison import draw_comparison, draw_contact_sheet
from mmmaskdino.visualization.predicted_dataset import PredictedDataset, write_picture


@HOOKS.register_module()  # of mmengine, so that mmdet and mmseg find it
class PictureHook(Hook):
    """Draws ground truth beside prediction of the first validation images after each evaluation.

    The pictures are `pictures/iter_<iteration>.png` of the work dir.

    Args:
        num_images (int): Images in a picture, at least 1.
        score_thr (float): Predicted objects with a lower score are left out.
    """

    priority = 'LOWEST'  # the evaluation's numbers are wanted first

    def __init__(self, num_images: int = 8, score_thr: float = 0.3) -> None:
        self.num_images = num_images
        self.score_thr = score_thr

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Draw and write the picture.

        Args:
            runner: The runner.
            metrics: Not used.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        dataset = PredictedDataset(runner.val_dataloader.dataset, model)
        pictures = []
        for index in range(min(self.num_images, len(dataset))):
            image, data_sample = dataset[index]
            name = Path(data_sample.img_path).name
            pictures.append(draw_comparison(image, data_sample, dataset.metainfo, name, score_thr=self.score_thr))
        path = Path(runner.work_dir) / 'pictures' / f'iter_{runner.iter:06d}.png'
        path.parent.mkdir(exist_ok=True)
        write_picture(path, draw_contact_sheet(pictures))
