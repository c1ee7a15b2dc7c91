"""Check packs, their tar streams and bundles, and compute the download size of an upgrade.

It may import packages up to `bundle`. It must not change anything.
"""
