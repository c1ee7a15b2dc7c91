"""Manage the tree of packs and releases on disk: layout, staging, activation, locks, verification, pruning.

May import packages up to `transfer`. Must not use a network and must not change files under a public name.
"""
