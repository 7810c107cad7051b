"""What `cotenant bench profile` is made of.

victims.py  programs to be profiled: a server and hashing in Python, xz, a program in Go
victim.py   what the Python ones run; victim.go the Go one
ticks.py    what one tick of a CPU's clock takes in the kernel, whoever samples by it
own.py      our own line, turned as the agent turns it: what a sample costs in both spaces
tables.py   making unwind tables, and having them from the cache
memory.py   the agent with profiling on, beside 200 processes of Python
judge.py    what a stack must have to be called whole: one rule for all profilers
tools.py    one turn of a profiler: started, left to settle, watched, ended, read
chosen.py   all profilers by name
receiver.py whom OpenTelemetry's profiler tells
rows.py     what many turns come to
"""
