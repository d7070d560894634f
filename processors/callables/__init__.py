"""Callables of the user's own, each in processes of its own, so that none can harm the worker."""
