"""Install packs from ordinary container images, whose layers form an opaque archive.

`scan` reads the layers, `tree` applies them in order, `links` replaces links by their targets, `layer_reuse` takes the
content of unchanged layers from installed packs. The code that parses tar files is in `archive`.
"""
