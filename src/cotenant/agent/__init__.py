"""Where the parts meet: the daemon's loop, and what a verb uses to sense by itself.

    watch.py    Watch: registry and meter in one hand
    daemon.py   Agent: samples on the clock, answers at its doors, follows its configuration
    pace.py     when the next sample is due, which ones came late, how long nobody was here
    log.py      log lines, the same one at most once a minute
    cost.py     what the agent itself costs
    profiles.py what becomes of profiles: kept (profile_store.py), sent (pushes.py), handed out;
                and Go programs that are asked for theirs (pulls.py)

The Agent is imported from `cotenant.agent.daemon`: it brings asyncio and HTTP, which a Watch goes
without.
"""

from cotenant.agent.watch import Watch

__all__ = ["Watch"]
