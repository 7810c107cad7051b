"""CPython: where it keeps threads, frames and code objects, and how they are read."""
