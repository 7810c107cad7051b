"""Dummy tenants to look at: containers where Docker runs, plain cgroups where it does not.

loads.py       the table of what the demo tenants do
workloads.py   the scripts they run as plain cgroups (a program of its own)
engine.py      Docker's API, as far as making and removing containers needs it
image.py       an image made on the spot, from busybox alone
containers.py  tenants as containers
cgroups.py     tenants as plain cgroups, in every tree
wire.py        two network namespaces and the veth between them
show.py        `demo up` and `demo down`, put together from these
"""
