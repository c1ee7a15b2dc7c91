"""Signed manifests: with minisign in both directions, and whatever is not signed rightly refused."""
