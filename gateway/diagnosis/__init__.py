"""What is the cause? Everything that dials, or looks at this machine's sockets, to find out.

`probe` looks what listens after a dial that failed, `findings` say what that means, `own_sockets` asks the kernel.
`explain` examines one URL, step by step: `url` reads what was typed, `question` asks the app, `words` tell its answer,
`report` is what comes out, `terminal` shows it.

Knows nothing of downstream connections: the edge and the admin listener ask, and say for which address.
"""
