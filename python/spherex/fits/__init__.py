"""The SPHEREx product in FITS files: reading, writing, and quick looks at headers."""

from .errors import ProductError
from .reading import ProductFile, open_product, read_product
from .recipes import WriteRecipe, parse_recipes
from .writing import write_product

__all__ = [
    "ProductError",
    "ProductFile",
    "WriteRecipe",
    "open_product",
    "parse_recipes",
    "read_product",
    "write_product",
]
