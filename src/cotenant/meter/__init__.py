"""Sense: who uses what. `read.py` drains the kernel into Samples, `usage.py` derives from them."""
