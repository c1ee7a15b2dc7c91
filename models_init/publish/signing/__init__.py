"""Sign version directories with secret keys in minisign's format.

It may import `pack`. It must not ask for a password or print a key.
"""
