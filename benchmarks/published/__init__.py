"""Published numbers, trained again with this library and printed beside its own."""
