"""Unwind tables: read from `.eh_frame`, made into rows, loaded into the kernel's room for them."""
