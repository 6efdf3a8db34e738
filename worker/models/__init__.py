"""Model families: how each reads its files, feeds its network and understands the answer."""
