"""What an explanation costs, beside a plain forward pass and the peers."""
