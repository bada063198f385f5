"""A picture after each evaluation of a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.visualization.vis_backend import LocalVisBackend, MLflowVisBackend

from mmmaskdino.engine.averaging import averaged_weights
from mmmaskdino.visualization.comparison import draw_comparison, draw_contact_sheet
from mmmaskdino.visualization.predicted_dataset import PredictedDataset, write_picture


@HOOKS.register_module()  # of mmengine, so that mmdet and mmseg find it
class PictureHook(Hook):
    """Draws ground truth beside prediction of the first validation images after each evaluation.

    The pictures are `pictures/iter_<iteration>.png` of the work dir, and go to TensorBoard, Weights & Biases and the
    like, where the run's visualizer has them as backends. Of averaged weights (EMA), which are evaluated, they show
    these.

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
        sheet = self._draw(runner)
        path = Path(runner.work_dir) / 'pictures' / f'iter_{runner.iter:06d}.png'
        path.parent.mkdir(exist_ok=True)
        write_picture(path, sheet)
        for backend in runner.visualizer._vis_backends.values():
            if not isinstance(backend, LocalVisBackend):  # which would write the file a second time
                # A series of pictures has one name; in MLflow pictures are files.
                name = f'pictures/{path.name}' if isinstance(backend, MLflowVisBackend) else 'pictures'
                backend.add_image(name, sheet, step=runner.iter)

    def _draw(self, runner: Runner) -> np.ndarray:
        """The picture, (h, w, 3) uint8, RGB."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        dataset = PredictedDataset(runner.val_dataloader.dataset, model)
        pictures = []
        with averaged_weights(runner):
            for index in range(min(self.num_images, len(dataset))):
                image, data_sample = dataset[index]
                name = Path(data_sample.img_path).name
                pictures.append(draw_comparison(image, data_sample, dataset.metainfo, name, score_thr=self.score_thr))
        return draw_contact_sheet(pictures)
