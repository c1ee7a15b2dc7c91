"""`models-pack` build, check, compare and upload."""
