"""Tests of spherex and spherex_simulator, and what they share."""
