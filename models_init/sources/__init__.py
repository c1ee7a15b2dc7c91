"""Where manifests and archives come from: one module for each kind of source, and one contract for all.

It may import `core`, `formats` and `fs`. It must not write to a volume; a kind of source must not know another.
"""
