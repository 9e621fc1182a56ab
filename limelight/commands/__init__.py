"""One file a command. Each imports nothing heavy until its command runs."""
