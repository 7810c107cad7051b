"""One file per outside format; every function here is pure: records in, bytes out.

    text.py         ebpf-mon's form, a line per value
    prometheus.py   the Prometheus text exposition (`Page`)
    records.py      JSON
    pprof.py, folded.py, speedscope.py, profile_json.py
    flame_html.py, flame_svg.py
                    a profile, each `render(profile)`; profile_files.py chooses by the file's ending
    pyroscope.py, otlp.py
                    a profile as servers take it, a series per tenant; service.py names that

The metric families live in one table (`families.py`, gathered from `cadvisor.py`, `cotenant.py` and
`own.py`); the exposition and `docs/metrics.md` are both made from it.
"""
