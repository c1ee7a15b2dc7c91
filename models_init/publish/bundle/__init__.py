"""Plan, lay out and write offline bundles.

It may import `pack` and `signing`. It must not change a byte of a pack or of its signature.
"""
