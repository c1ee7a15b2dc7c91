"""Sources of manifests and archives: one module for each kind, with a common interface in `source`.

This package may import `core`, `runtime` and `formats`. It does not write to a volume. No kind of source
imports another.
"""
