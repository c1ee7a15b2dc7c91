"""Packs that are an ordinary tar archive, of which no chunk can be fetched alone (opaque archives).

It may import packages up to `volume`. What reads an archive must not know where it is written, or trust its content.
"""
