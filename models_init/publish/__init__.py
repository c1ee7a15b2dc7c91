"""The vendor's program `models-pack`: build, sign, check, bundle and upload packs.

It may import every other package. No other package may import it, because sites do not install it.
"""
