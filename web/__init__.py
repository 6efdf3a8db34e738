"""The light tier: takes uploads, puts work into the queue, reports progress, shows results. No pixels, no models."""
