"""The references: NumPy programs straight from the equations, and the rounding error they allow others."""
