"""Packs and volumes that lie: each is refused in its own words, and nothing outside the volume is touched."""
