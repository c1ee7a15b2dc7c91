"""Build packs: cut a folder into chunks, compress them, and write archive and manifest to a version folder.

It may import no other package of `publish`. It must not use a network or sign anything.
"""
