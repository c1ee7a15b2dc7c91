"""Resolve, plan, assemble, publish and activate packs; check before an install and repair after it.

May import packages up to `archive`. Must not read settings or print: it reports events and returns results.
"""
