"""Plain archives: packs whose manifest tells an archive's size and digest, and no file; the slower road."""
