"""Hostile packs and volumes: each is rejected with a distinct message, and nothing outside the volume changes."""
