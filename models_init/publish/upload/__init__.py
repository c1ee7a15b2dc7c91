"""Publish packs in a blob container: the archive first, the manifest last; a published version never changes.

It may import `pack`. Nothing outside this package may import the Azure SDK.
"""
