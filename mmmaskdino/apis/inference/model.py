"""The model of a config with trained weights, switched to the wanted results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.fileio import get_local_path
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor

from mmmaskdino.apis.plain_config import wrong_in_config
from mmmaskdino.apis.tta import tta_model
from mmmaskdino.converters import read_checkpoint
from mmmaskdino.converters.conversion import UNCOUNTED
from mmmaskdino.converters.target import read_dataset_meta
from mmmaskdino.hub import find_weights, local_weights
from mmmaskdino.models.utils import head_of

KINDS = ('panoptic', 'instances', 'semantic')
SWITCHES = dict(panoptic='panoptic_on', instances='instance_on', semantic='semantic_on')
# Threshold -> the results that it applies to.
THRESHOLDS = dict(
    score_thr=('instances',),
    max_per_image=('instances',),
    object_mask_thr=('panoptic',),
    overlap_thr=('panoptic',),
    box_margin=KINDS,
)
DEFAULT_SCORE_THR = 0.3  # mmdet's, of the pictures that its inferencer draws
# Only training reads these, so weights that others released may lack them.
TRAINING_ONLY = re.compile(rf'\.denoising\.|{UNCOUNTED}')


def apply_settings(cfg: Config, kinds: Sequence[str] | None, thresholds: Mapping[str, float | None]) -> None:
    """Set which results the model gives and its thresholds.

    Args:
        cfg: Changed in place.
        kinds: Some of `KINDS`; None for what the config says.
        thresholds: Some of `THRESHOLDS`. None leaves the config's value; a `score_thr` of 0, which an
            evaluation needs, becomes 0.3 then.

    Raises:
        ValueError: The model cannot give such a result, or gives none that a threshold applies to.
    """
    unknown = set(kinds or ()) - set(KINDS)
    if unknown:
        raise ValueError(f'results are {", ".join(KINDS)}; got {", ".join(sorted(unknown))}')
    given = {key: value for key, value in thresholds.items() if value is not None}
    if is_semantic(cfg):
        _reject(set(kinds or ()) - {'semantic'}, f'{cfg.filename} is a semantic model and gives no')
        _reject(set(given), f'{cfg.filename} is a semantic model, which has no')
        return
    if cfg.model.panoptic_head.get('mask_dims', 256) is None:
        _reject(set(kinds or ()) - {'instances'}, f'{cfg.filename} is a detection model and gives no')
        _reject(set(given) & {'box_margin'}, f'{cfg.filename} is a detection model, without masks to cut:')
    test_cfg = dict(cfg.model.get('test_cfg') or {})
    if kinds:
        test_cfg.update({SWITCHES[kind]: kind in kinds for kind in KINDS})
    given_kinds = {kind for kind in KINDS if test_cfg.get(SWITCHES[kind], kind == 'instances')}
    idle = {key for key in given if given_kinds.isdisjoint(THRESHOLDS[key])}
    _reject(idle, f'the wanted results are {" and ".join(sorted(given_kinds))}, which have no')
    if 'instances' in given_kinds:
        given.setdefault('score_thr', test_cfg.get('score_thr') or DEFAULT_SCORE_THR)
    cfg.model.test_cfg = dict(test_cfg, **given)


def _reject(names: set[str], why: str) -> None:
    if names:
        raise ValueError(f'{why} {", ".join(sorted(names))}')


def is_semantic(cfg: Config) -> bool:
    """Whether the model is one of mmseg."""
    return 'decode_head' in cfg.model


def build_model(cfg: Config, weights: str | Path, device: str, tta: bool = False) -> BaseModel:
    """The model for prediction; nothing is downloaded but weights that have a name or a URL, and those once.

    Args:
        cfg: A config of this package.
        weights: Checkpoint file or URL, name of a model or work directory.
        device: Where to put it.
        tta: Whether to wrap it for test-time augmentation.

    Returns:
        The model, with `dataset_meta`.

    Raises:
        ValueError: The weights do not fit the model.
    """
    address, _ = find_weights(weights)
    address = str(local_weights(address) or address)
    with get_local_path(address) if '://' in address else nullcontext(address) as path:
        checkpoint = read_checkpoint(path)
    cfg.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        try:
            model = MODELS.build(cfg.model)
        except (TypeError, KeyError) as error:
            message = wrong_in_config(error)
            if message is None and isinstance(error, KeyError):
                raise  # a fault of a program
            raise ValueError(message or str(error)) from error
        load_weights(model, checkpoint.tensors, f'{weights} and the model of {cfg.filename}')
        if tta:
            model = MODELS.build(dict(tta_model(cfg), module=model))
    head: Any = head_of(model)
    model.dataset_meta = dataset_meta(cfg, checkpoint.meta, head.num_classes)
    return revert_sync_batchnorm(model).to(device).eval()


def load_weights(model: BaseModel, tensors: dict[str, Tensor], what: str) -> None:
    """Load weights and reject those that would leave parts of the model random.

    Args:
        model: The model.
        tensors: Weights by name.
        what: Both, for the message.

    Raises:
        ValueError: A tensor is missing or has another shape.
    """
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in tensors and not TRAINING_ONLY.search(name)]
    other = [name for name in wanted if name in tensors and tensors[name].shape != wanted[name].shape]
    faults = []
    if missing:
        faults.append(f'{len(missing)} of {len(wanted)} tensors are missing, for example {missing[0]}')
    if other:
        shapes = ' and '.join(str(tuple(x[other[0]].shape)) for x in (tensors, wanted))
        faults.append(f'{len(other)} have another shape, for example {other[0]}: {shapes}')
    if faults:
        raise ValueError(
            f'{what} do not fit together: {"; ".join(faults)}. Weights of other code bases have to be converted first '
            '(mmmaskdino convert); other shapes mean another config or other classes than in training'
        )
    model.load_state_dict({name: tensor for name, tensor in tensors.items() if name in wanted}, strict=False)


def dataset_meta(cfg: Config, meta: dict[str, Any], num_classes: int) -> dict[str, Any]:
    """Class names and palette: those of the checkpoint, or else of the config's test data.

    Raises:
        ValueError: Their number is not the model's.
    """
    found = dict(meta.get('dataset_meta') or {})
    if not found.get('classes'):
        found = read_dataset_meta(cfg)
    if len(found.get('classes', ())) != num_classes:
        raise ValueError(
            f'{cfg.filename}: the model has {num_classes} classes, but {len(found.get("classes", ()))} names are known '
            '(metainfo.classes of test_dataloader.dataset, dataset_meta of the checkpoint)'
        )
    if found.get('palette') is not None and len(found['palette']) != num_classes:
        del found['palette']
    return found
