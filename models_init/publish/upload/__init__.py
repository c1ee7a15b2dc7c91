"""Publish packs in a blob container or a registry: the archive first, the manifest last; no published version changes.

It may import `pack`. Nothing outside this package may import the Azure SDK.
"""
