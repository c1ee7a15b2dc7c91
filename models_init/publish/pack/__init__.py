"""Build packs: cut a directory into chunks, compress them, and write archive and manifest to a version directory.

It may import no other package of `publish`. It must not use a network or sign anything.
"""
