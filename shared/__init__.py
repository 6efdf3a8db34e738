"""What the web tier and the worker both speak. Imports no web framework, no engine, no pixels."""
