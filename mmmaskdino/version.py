"""The package's version, written only here."""

__version__ = '0.1.0'
CONVERTER_VERSION = 1  # raised where the same file would become other weights: what is cached is converted anew
