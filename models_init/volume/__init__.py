"""The tree of packs and releases on disk: layout, staging, activation, locks, verification, pruning.

It may import packages up to `transfer`. It must not use a network, and must not change what has a public name.
"""
