"""Install packs from ordinary container images, whose layers form an opaque archive.

`scan` reads the layers, `tree` applies one after the other, `links` replaces links, `layer_reuse` takes the content of
unchanged layers from installed packs. What the package needs to know about tar files is in `archive`.
"""
