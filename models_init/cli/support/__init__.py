"""Collect a support bundle: one archive that describes a site, without secrets.

May import packages up to `output`. Must not change anything, and must not fail because something else does.
"""
