"""File system operations of Linux that the standard library lacks.

This package may import `core` and `formats`, and knows nothing of packs, releases or the layout of a volume.
"""
