"""Make a model ready to share: mmmaskdino publish CHECKPOINT OUT_DIR.

Writes the folder OUT_DIR/NAME: weights with config and class names, the config as a file, the line of a table of
models (models.yml) and a model card (README.md); `mmmaskdino predict photo.jpg --model OUT_DIR/NAME` needs no more.
"""

from __future__ import annotations

import argparse
import io
import re
from pathlib import Path
from typing import Any

import torch
import yaml
from mmengine.config import Config

from mmmaskdino import __version__
from mmmaskdino.apis import load_config
from mmmaskdino.apis.plain_config import PlainConfig
from mmmaskdino.converters import read_checkpoint
from mmmaskdino.converters.files import Checkpoint
from mmmaskdino.converters.target import read_dataset_meta
from mmmaskdino.engine.averaging import AVERAGED, trained_weights
from mmmaskdino.hub import find_weights
from mmmaskdino.hub.download import Remote, check_file
from mmmaskdino.hub.resolve import PUBLISHED
from mmmaskdino.hub.table import check_name
from mmmaskdino.logged_results import in_percent, read_logged

CARD = """\
---
license: {front_licence}
library_name: mmmaskdino
pipeline_tag: image-segmentation
---
# {name}

A Mask DINO for {task} segmentation, backbone {backbone}, made with mmmaskdino {version}.

```bash
mmmaskdino predict photo.jpg --model {name}    # {name} is this folder
```

| | |
|---|---|
| weights | `{file}`, {megabytes:.0f} MB, SHA-256 `{sha256}` |
| config | `config.py`, also inside the weights |
| trained on | {data} |
| training | {training} |
| results | {results} |
| licence | {licence} |

{num_classes} classes: {classes}
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Strip a checkpoint to its weights, config and class names, with a model card.'
    )
    parser.add_argument('checkpoint', help='checkpoint of a training run, or its work directory')
    parser.add_argument('out_dir', help='folder of the new folder, <name>/<name>-<hash>.pth')
    parser.add_argument('--config', help="config file or name; default: the one in the checkpoint's metadata")
    parser.add_argument('--name', help='of the model; default: that of the config')
    parser.add_argument('--data', help='what it was trained on, for people; default: the data folder of the config')
    parser.add_argument('--licence', help='of the weights, for example Apache-2.0; default: not stated')
    parser.add_argument(
        '--raw-weights',
        action='store_true',
        help='of a run with EMA, publish the weights that are not averaged; default: the averaged, evaluated ones',
    )
    return parser.parse_args()


def published_weights(checkpoint: Checkpoint, raw: bool) -> dict[str, torch.Tensor]:
    """Weights to publish: the averaged ones of a run with EMA, or the raw ones.

    Raises:
        ValueError: If raw weights are wanted of a run without EMA.
    """
    if raw and AVERAGED not in checkpoint.content:
        raise ValueError(f'--raw-weights expects a checkpoint of a run with EMAHook ({AVERAGED}), this one has none')
    weights = trained_weights(checkpoint.content) if raw else checkpoint.tensors
    return {name: tensor.contiguous() for name, tensor in weights.items()}


def published_meta(checkpoint: Checkpoint, config: str | None) -> dict[str, Any]:
    """Config and class names.

    Raises:
        ValueError: If the config or the class names are not known.
    """
    meta = dict(mmmaskdino_version=__version__)
    if config is not None:
        cfg = load_config(config)
        meta.update(cfg=cfg.pretty_text, experiment_name=Path(cfg.filename).stem, dataset_meta=read_dataset_meta(cfg))
    else:
        meta.update({key: checkpoint.meta[key] for key in ('cfg', 'experiment_name') if key in checkpoint.meta})
    meta['dataset_meta'] = checkpoint.meta.get('dataset_meta') or meta.get('dataset_meta')
    missing = [key for key in ('cfg', 'dataset_meta') if not meta.get(key)]
    if missing:
        raise ValueError(f'the checkpoint has no {" and no ".join(missing)} in its metadata: give --config CONFIG')
    return meta


def measured_results(work_dir: Path, step: int | None) -> dict[str, float]:
    """What the run has logged when it evaluated this checkpoint, in percent."""
    found = {}
    for entry in read_logged(work_dir):
        if entry.get('step') == step:
            found |= {metric: round(value, 1) for metric, value in in_percent(entry).items()}
    return found


def describe(cfg: Config) -> dict[str, str]:
    """Task and backbone of a config's model."""
    model = cfg.model
    test_cfg = model.get('test_cfg') or {}
    if 'decode_head' in model:
        task = 'semantic'
    elif model.get('panoptic_head', {}).get('mask_dims', 256) is None:
        task = 'detection'
    else:
        task = 'panoptic' if test_cfg.get('panoptic_on') else 'instance'
    backbone = model.get('backbone', {})
    kind = str(backbone.get('model_name') or backbone.get('type', '?')).rpartition('.')[2]
    return dict(task=task, backbone=f'{kind}-{backbone.depth}' if 'depth' in backbone else kind)


def write_folder(args: argparse.Namespace, content: dict, checkpoint: Checkpoint, results: dict[str, float]) -> Path:
    """Write all files; the table that makes it a published folder comes last."""
    meta = content['meta']
    cfg = PlainConfig.read(meta['cfg'], args.checkpoint)
    name = args.name or re.sub(r'_\d{8}_\d{6}$', '', meta.get('experiment_name') or Path(args.checkpoint).stem)
    check_name(name, f'name {name!r} (--name)')
    folder = Path(args.out_dir) / name
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    whole = folder / 'new.pth'
    whole.write_bytes(buffer.getbuffer())
    facts = check_file(whole, Remote(whole.name, ()))
    path = whole.replace(folder / f'{name}-{facts["sha256"][:8]}.pth')
    data = args.data or str(cfg.get('data_root') or '') or 'not stated'
    entry = dict(address=path.name, **facts, **describe(cfg), data=data, results=results, licence=args.licence or '')
    (folder / 'config.py').write_text(meta['cfg'], encoding='utf-8')
    steps = f'{checkpoint.meta["iter"]} iterations' if 'iter' in checkpoint.meta else 'not stated'
    classes = [str(text).replace('`', "'") for text in meta['dataset_meta']['classes']]
    card = CARD.format(
        name=name,
        version=__version__,
        file=path.name,
        megabytes=facts['bytes'] / 1e6,
        front_licence=(args.licence or 'unknown').lower(),
        training=f'`mmmaskdino train config.py`, {steps}',
        num_classes=len(classes),
        classes=', '.join(f'`{text}`' for text in classes),
        **{key: entry[key] for key in ('task', 'backbone', 'sha256', 'data')},
        results=', '.join(f'{metric} {value}' for metric, value in results.items()) or 'not stated',
        licence=args.licence or 'not stated',
    )
    (folder / 'README.md').write_text(card, encoding='utf-8')
    (folder / PUBLISHED).write_text(yaml.safe_dump(dict(models={name: entry}), sort_keys=False), encoding='utf-8')
    return path


def main() -> None:
    args = parse_args()
    try:
        args.checkpoint, _ = find_weights(args.checkpoint)
        checkpoint = read_checkpoint(args.checkpoint)
        content = dict(
            state_dict=published_weights(checkpoint, args.raw_weights), meta=published_meta(checkpoint, args.config)
        )
        results = measured_results(Path(args.checkpoint).parent, checkpoint.meta.get('iter'))
        path = write_folder(args, content, checkpoint, results)
    except (ValueError, OSError) as error:
        raise SystemExit(f'publish_model.py: {error}') from None
    print(f'wrote {path}, with config.py, README.md and {PUBLISHED}')


if __name__ == '__main__':
    main()
