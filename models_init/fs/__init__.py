"""File system operations of Linux that the standard library lacks.

This package may import `core` and `runtime`. It does not depend on packs, releases or the layout of a volume.
"""
