"""The vendor's side: making packs of folders, judging them, publishing them."""
