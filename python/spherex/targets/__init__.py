"""Catalogues of targets on the sky."""
