"""The live table: textual's widgets around the same rows and columns as the table printed once."""
