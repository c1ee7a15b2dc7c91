"""Which bytes are missing, in which ranges they are requested, and how they are fetched and verified.

It may import packages up to `sources`. It must not know the layout of a volume, nor which kind of source is read.
"""
