"""The tiny model: a small decoder of a standard architecture, its tokenizer, and the weights that are shipped."""
