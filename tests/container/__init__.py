"""Tests of the image and the compose files with a real Docker engine."""
