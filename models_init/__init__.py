"""Installs versioned speech model packs on a volume."""

__version__ = "0.1.0"
