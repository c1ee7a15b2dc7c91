"""The documents that sites and vendors exchange: manifest, release, receipt, signature, bundle index.

It may import `core`. It must not do I/O: it turns bytes into valid values and back.
"""
