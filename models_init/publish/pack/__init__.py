"""Packs: how a folder is cut, compressed and described, and the version folder it is written to.

It may import no other package of `publish`. It must not use a network or sign anything.
"""
