"""Collect a support bundle: one archive that describes a site, without secrets.

May import packages up to `output`. Must not change anything. An error of one part must not end the collection.
"""
