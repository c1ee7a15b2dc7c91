"""The workflow: resolve, plan, assemble, publish and activate packs; checks before it and repairs after it.

It may import packages up to `archive`. It must not read settings or print: it reports events and returns results.
"""
