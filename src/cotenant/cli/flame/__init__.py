"""The flame graph in the terminal: a tree, how it lies on the screen, and the screen."""
