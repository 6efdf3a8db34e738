"""What is measured against what. Run by hand, never in a test: machines are noisy, ratios carry over."""
