"""Make a checkpoint ready to share: python tools/model_converters/publish_model.py CHECKPOINT OUT_DIR."""

from __future__ import annotations

import argparse
import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from mmmaskdino import __version__
from mmmaskdino.apis import load_config
from mmmaskdino.converters import read_checkpoint
from mmmaskdino.converters.files import Checkpoint
from mmmaskdino.converters.target import read_dataset_meta


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Strip a checkpoint to its weights, config and class names.')
    parser.add_argument('checkpoint', help='checkpoint of a training run')
    parser.add_argument('out_dir', help='folder of the new file, <name of the config>-<hash>.pth')
    parser.add_argument('--config', help="config file or name; default: the one in the checkpoint's metadata")
    parser.add_argument(
        '--raw-weights',
        action='store_true',
        help='of a run with EMA, publish the weights that are not averaged; default: the averaged, evaluated ones',
    )
    return parser.parse_args()


def published_weights(checkpoint: Checkpoint, raw: bool) -> dict[str, torch.Tensor]:
    """Weights to publish. mmengine's EMAHook writes the averaged ones as `state_dict`, the others as `ema_state_dict`.

    Raises:
        ValueError: If raw weights are wanted of a run without EMA.
    """
    if not raw:
        return {name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}
    if 'ema_state_dict' not in checkpoint.content:
        raise ValueError('--raw-weights expects a checkpoint of a run with EMAHook (ema_state_dict), this one has none')
    others = checkpoint.content['ema_state_dict']
    return {name: others.get(f'module.{name}', tensor).contiguous() for name, tensor in checkpoint.tensors.items()}


def published_meta(checkpoint: Checkpoint, config: str | None) -> dict[str, Any]:
    """Config and class names.

    Raises:
        ValueError: If the config or the class names are not known.
    """
    meta = dict(mmmaskdino_version=__version__)
    if config is not None:
        cfg = load_config(config)
        meta.update(cfg=cfg.pretty_text, experiment_name=Path(config).stem, dataset_meta=read_dataset_meta(cfg))
    else:
        meta.update({key: checkpoint.meta[key] for key in ('cfg', 'experiment_name') if key in checkpoint.meta})
    meta['dataset_meta'] = checkpoint.meta.get('dataset_meta') or meta.get('dataset_meta')
    missing = [key for key in ('cfg', 'dataset_meta') if not meta.get(key)]
    if missing:
        raise ValueError(f'the checkpoint has no {" and no ".join(missing)} in its metadata: give --config CONFIG')
    return meta


def main() -> None:
    args = parse_args()
    try:
        checkpoint = read_checkpoint(args.checkpoint)
        content = dict(
            state_dict=published_weights(checkpoint, args.raw_weights), meta=published_meta(checkpoint, args.config)
        )
    except ValueError as error:
        raise SystemExit(f'publish_model.py: {error}') from None
    buffer = io.BytesIO()
    torch.save(content, buffer)
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    name = content['meta'].get('experiment_name', Path(args.checkpoint).stem)
    path = Path(args.out_dir) / f'{name}-{digest[:8]}.pth'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getbuffer())
    print(f'wrote {path}')


if __name__ == '__main__':
    main()
