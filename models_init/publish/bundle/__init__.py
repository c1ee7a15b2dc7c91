"""Offline bundles: what goes into one, where each member lies, how the files are written.

It may import `pack` and `signing`. It must not change a byte of a pack or of its signature.
"""
