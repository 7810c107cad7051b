"""The sense of where the time goes: stacks of native and interpreted code, with names."""
