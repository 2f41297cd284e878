"""What recurrent layers share: how they are called, and the laws that hold for all of them."""

from seqlaws.spec.recurrent import structure, values
from seqlaws.spec.recurrent.calling import specify

__all__ = ["specify", "structure", "values"]
