"""Modules that every package may use: errors, pack names, events, units, digests, redaction.

This package imports no other package of models_init, does not access a volume and does not use a network.
"""
