"""What predictions leave behind, so that a later round of annotation finds the images and not the drawings."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, UnidentifiedImageError

IMAGES_IN = 'images_in'  # in a file's info: the folder of its images, relative to its own
DRAWN = 'drawn by mmmaskdino'
_DESCRIPTION = 0x010E  # the EXIF tag


def save_drawing(picture: Image.Image, path: Path, quality: int = 92) -> None:
    """Save a picture as JPEG and write into it that results are drawn on it."""
    exif = Image.Exif()
    exif[_DESCRIPTION] = DRAWN
    picture.save(path, quality=quality, exif=exif)


def is_drawn(path: Path) -> bool:
    """Whether a file is such a picture."""
    try:
        with Image.open(path) as image:
            return image.getexif().get(_DESCRIPTION) == DRAWN
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return False
