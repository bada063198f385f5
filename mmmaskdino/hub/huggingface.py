"""Models that others have published on the Hugging Face Hub with this package's model cards."""

from __future__ import annotations

from pathlib import Path

from .download import OFFLINE, FetchError, switched_on
from .resolve import PUBLISHED


def fetch_published(repo_id: str, revision: str | None = None) -> Path:
    """Fetch a published folder; huggingface_hub resumes, checks and keeps it, and honours its own variables.

    Args:
        repo_id: `organisation/name`.
        revision: Branch, tag or commit; None for the main branch.

    Returns:
        The folder. It has no code: the config is read from the weights, see `PlainConfig.read`.

    Raises:
        FetchError: It cannot be fetched, or is no model of this package.
    """
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as error:
        raise FetchError('huggingface_hub is not installed: pip install "mmmaskdino[hub]"') from error
    try:
        wanted = ['*.pth', PUBLISHED]
        offline = switched_on(OFFLINE)
        folder = Path(snapshot_download(repo_id, revision=revision, allow_patterns=wanted, local_files_only=offline))
    except Exception as error:  # of several HTTP libraries, by version
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise FetchError(f'{repo_id} cannot be fetched from the Hugging Face Hub: {reason}') from error
    if not (folder / PUBLISHED).is_file():
        raise FetchError(f'{repo_id} is no model of this package: it has no {PUBLISHED}, as publish_model.py writes it')
    return folder
