"""The whole service on one machine, without containers: what `make run` starts."""
