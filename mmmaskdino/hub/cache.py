"""Weights on this disk: fetched once, converted once, with a receipt."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mmmaskdino.version import CONVERTER_VERSION, __version__

from .download import KEEP, Remote, check_file, check_reachable, digits_in, download, home, locked, switched_on
from .table import SCHEME, Entry, find_entry


def local_weights(address: str) -> Path | None:
    """The file of an address, fetched if it is not on this disk.

    Args:
        address: `maskdino://NAME` or an http(s) address.

    Returns:
        The file; None for all else.

    Raises:
        FetchError: It cannot be fetched.
        ValueError: There is no such name, or the file does not fit the config.
    """
    if address.startswith(SCHEME):
        return fetch_model(find_entry(address))
    return fetch_address(address) if address.startswith(('http://', 'https://')) else None


def cached_model(entry: Entry) -> dict[str, Any] | None:
    """The receipt of a model that is on this disk, with the file as `path`; None if it is not."""
    folder = _folder(entry)
    try:
        receipt = json.loads((folder / 'receipt.json').read_text(encoding='utf-8'))
        path = folder / receipt['weights']['file']
        return {**receipt, 'path': path} if path.stat().st_size == receipt['weights']['bytes'] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def fetch_model(entry: Entry, keep: bool | None = None) -> Path:
    """The weights of a name in this package's form. The package must be imported whole.

    Args:
        entry: Its line in the table.
        keep: Whether the original file stays beside; None: as MMMASKDINO_KEEP_ORIGINALS says.

    Returns:
        The file.

    Raises:
        FetchError: It cannot be fetched.
        ValueError: It asks for code to be run, or does not fit the config.
    """
    if receipt := cached_model(entry):
        return receipt['path']
    folder, remote = _folder(entry), remote_of(entry)
    with locked(folder.parent / 'lock'):
        if receipt := cached_model(entry):  # another process was faster
            return receipt['path']
        by_hand = _by_hand()
        original, found = download(remote, folder.parent, by_hand)
        path = folder / f'{entry.name}.pth'
        try:
            options = _convert(entry, original, path)
        except ValueError:
            if original.parent != by_hand:
                original.unlink()  # the next attempt starts anew
            raise
        receipt = {
            'name': entry.name,
            'original': {'file': remote.file, 'addresses': remote.addresses, **found},
            'weights': {'file': path.name, **check_file(path, Remote(path.name, ()))},
            'kind': entry.kind,
            'config': entry.config,
            'options': options,
            'versions': {'mmmaskdino': __version__, 'converter': CONVERTER_VERSION},
            'made': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
        }
        _write(folder / 'receipt.json', json.dumps(receipt, indent=1))
        if original.parent != by_hand:
            if switched_on(KEEP) if keep is None else keep:
                os.replace(original, by_hand / remote.file)
            else:
                original.unlink()
    return path


def fetch_address(address: str) -> Path:
    """A file of one's own, fetched once per address; digits in its name, as in `model-1a2b3c4d.pth`, are checked.

    Raises:
        FetchError: It cannot be fetched, or the digits are not the beginning of its SHA-256.
    """
    name = Path(unquote(urlsplit(address).path)).name or 'weights.pth'
    folder = home() / 'addresses' / hashlib.sha256(address.encode()).hexdigest()[:16]
    if (folder / name).is_file():
        return folder / name
    with locked(folder / 'lock'):
        path, _ = download(Remote(name, (address,), sha256=digits_in(name)), folder, by_hand=folder)
        os.replace(path, folder / name)
    return folder / name


def verify_files(receipt: dict[str, Any]) -> str:
    """Compare the file of a model with its receipt, as :func:`cached_model` returns it.

    Returns:
        What was found, for people.

    Raises:
        FetchError: It has changed since it was made.
    """
    facts = receipt['weights']
    check_file(receipt['path'], Remote(facts['file'], (), facts['bytes'], facts['md5'], facts['sha256']))
    original = receipt['original']
    return (
        f'{receipt["path"]}: as it was made on {receipt["made"]} with mmmaskdino {receipt["versions"]["mmmaskdino"]} '
        f'from {original["file"]} ({original["bytes"]} bytes, md5 {original["md5"]}, sha256 {original["sha256"]})'
    )


def check_model_reachable(entry: Entry) -> None:
    """Reject a model that is not on this disk where nothing may be fetched.

    Raises:
        FetchError: MMMASKDINO_OFFLINE is set; says how to fetch it by hand.
    """
    if cached_model(entry) is None:
        check_reachable(remote_of(entry), _by_hand())


def _by_hand() -> Path:
    return home() / 'downloads'


def remote_of(entry: Entry) -> Remote:
    """The file that an entry of the table is made of."""
    name = Path(unquote(urlsplit(entry.address).path)).name
    return Remote(name, (entry.address, *entry.mirrors), entry.bytes, entry.md5, entry.sha256)


def _folder(entry: Entry) -> Path:
    """Of the converted weights: another one for other originals, configs, options and versions of the converter."""
    config = Path(entry.config or '')
    facts = [*remote_of(entry), entry.kind, entry.options, entry.sizes, config.name]
    if entry.md5 or entry.sha256:
        facts[1] = None  # wherever it is fetched from
    digest = hashlib.sha256(json.dumps(facts).encode() + (config.read_bytes() if config.is_file() else b''))
    return home() / 'models' / entry.name / f'v{CONVERTER_VERSION}-{digest.hexdigest()[:8]}'


def _convert(entry: Entry, original: Path, path: Path) -> dict[str, Any]:
    """Write the weights in this package's form; returns the options that belong to them."""
    from mmmaskdino.apis.conversion import convert_file
    from mmmaskdino.apis.launch import load_config
    from mmmaskdino.converters import read_checkpoint

    tensors = read_checkpoint(original).tensors
    missing = [name for name in entry.sizes.values() if name not in tensors]
    if missing:
        raise ValueError(f'{original.name} is no {entry.name}: it has no tensor {missing[0]}')
    options = {**entry.options, **{key: len(tensors[name]) for key, name in entry.sizes.items()}}
    if entry.kind is None:  # a file of this package
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, original.read_bytes())
    else:
        convert_file(original, path, load_config(entry.config, options), entry.kind)
    return options


def _write(path: Path, content: bytes | str) -> None:
    from mmmaskdino.engine.checkpoints import AtomicLocalBackend

    AtomicLocalBackend().put(content.encode() if isinstance(content, str) else content, path)
