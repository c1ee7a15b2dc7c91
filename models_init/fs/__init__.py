"""What Linux file systems can do, beyond the standard library.

It may import `core` and `formats`. It must not know packs, releases or the layout of a volume.
"""
