"""A film with its maps: read, explained, smoothed in time without lag, drawn, and written with its own sound."""
