"""The agent's doors: HTTP for scrapers, the control socket for the other verbs.

control.py      the words of the control socket, and the client that speaks them
answers.py      its server
http.py         /metrics and the probes
profiles.py     /api/profile
connection.py   one connection to them: how long a client may take
sockets.py      both doors' sockets: taken whole or not at all
"""
