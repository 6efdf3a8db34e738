"""Training on a user's own data: data sets, and one package a model family. Knows nothing of jobs, queues or pages."""
