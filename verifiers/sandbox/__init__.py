"""The sandbox of `verifiers.programs`: two processes a run, of which one has the program and the other the tests.

    parent ──program──▶ candidate server ──fork──▶ candidate ◀─┐ plain values
       └─────tests────▶ checker server ────fork──▶ checker ◀───┘ and object numbers

One worker is one launcher, started by exec, that builds the layers once and forks both servers; each run forks one
child from each. The candidate's side never receives tests, the checker's side never receives programs, and the parent
parses nothing of either. The modules that run inside (`launcher` and what it imports) use the standard library only.
"""
