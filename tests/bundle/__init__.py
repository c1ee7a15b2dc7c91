"""Offline bundles: making, installing and damaging them."""
