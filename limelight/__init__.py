"""limelight: where a vision model looked, and whether to believe it."""
