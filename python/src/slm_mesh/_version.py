"""The version of this package, which is that of the program it belongs to."""

__version__ = "1.0.0"
