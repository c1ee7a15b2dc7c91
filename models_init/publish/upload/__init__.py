"""Publishing packs in a blob container: archive first, manifest last; what is published never changes.

It may import `pack`. Nothing outside of it may import the Azure SDK.
"""
