"""Networks that are slow, broken, or lie; tokens that die; packs that change while they are fetched."""
