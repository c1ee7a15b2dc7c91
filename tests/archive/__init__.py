"""Opaque archives: reading, rejecting and installing them."""
