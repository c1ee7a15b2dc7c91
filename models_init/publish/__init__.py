"""The vendor's program `models-pack`: it makes, signs, checks, bundles and uploads packs.

It may import every other package. No other package may import it: a site does not have it.
"""
