"""Pages for readers, and the programs that make the README's figures; nothing else uses them."""
