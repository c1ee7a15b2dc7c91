"""Slow, broken and corrupting networks, expiring tokens, and packs that change while they are fetched."""
