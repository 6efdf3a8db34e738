"""The same model behind other people's servers: what `bench.serving` measures ours against."""
