"""Pictures to learn on."""
