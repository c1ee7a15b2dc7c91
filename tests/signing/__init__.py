"""Signed manifests: compatibility with minisign in both directions, and rejection of invalid signatures."""
