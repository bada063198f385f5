"""Options that several tools share."""

import argparse


def pixels(text: str) -> int:
    """A side of an image, as the type of an option.

    Raises:
        argparse.ArgumentTypeError: It is no whole number of at least 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a whole number of pixels of at least 1, got {text}')
    return int(text)
