"""The promises of the vendor's side."""
