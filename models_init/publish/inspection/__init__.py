"""Checks of what was made: packs, the tar stream in them, bundles, and what an upgrade costs.

It may import packages up to `bundle`. It must not change anything.
"""
