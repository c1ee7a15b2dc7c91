"""The documents that sites and vendors exchange: manifest, release, receipt, signature, bundle index.

This package may import `core` and `runtime.collector`. It does no I/O: it parses and encodes documents.
"""
