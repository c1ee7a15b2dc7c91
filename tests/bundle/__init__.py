"""Offline bundles: made by the vendor's program, installed by the site's, damaged in between."""
