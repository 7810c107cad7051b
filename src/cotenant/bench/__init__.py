"""The benchmarks a user can run: one file each, and what they share.

meter.py    `bench meter`: one collection, side by side with every peer, and what comes around it
noise.py    `bench noise`: what sensing waits costs, beside peers, and what users feel of it
profile.py  `bench profile`: what a stack costs and how many are whole, beside other profilers
profiling/  what that is made of
hooks.py    the cost of a scheduler's switch for each way to sense, netted with empty programs
slowdown.py loads with the sense off, with it on, and beside the agent
perf.py     perf's loads of the scheduler
requests.py a server and its client next to CPU hogs; loop.py is what they run
stage.py    parts that may fail without the rest
turns.py    ways of doing one thing, timed in turn
ways.py     the product's own ways: the bare walk, and a whole collection
peers/      the others' ways: files read in Python, Docker's API, cAdvisor, runqlat tools, profilers
alone.py    memory and allocations of one way, in a process of its own
scale.py    what a tenant costs when there are 10, or 5000
daemon.py   the agent and `cotenant metrics`, measured as processes
page.py     rendering /metrics
patience.py ending in the time promised
tenants.py  making n tenants, and removing them whatever happens
host.py     where it was measured
form.py     the one form every benchmark speaks
"""
