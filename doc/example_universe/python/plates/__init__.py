"""Digitized photographic plates in the Butler."""
