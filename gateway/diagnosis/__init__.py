"""What is the cause? Everything that dials, or looks at this machine's sockets, to find out.

`port_probe` looks what listens after a dial that failed, `findings` say what that means, `own_sockets` asks the kernel.
`explain` examines one URL, step by step: `url` parses what was typed, `app_request` asks the app, `answer_text` words
its answer, `report` is what comes out, `terminal` shows it.

After an app has answered: `protocol_probe` finds out what it speaks, `error_answer` looks into an error's body, and
`hints` know which setting such an app lacks, by the tables in `refusals` (bodies) and `own_urls` (heads).

Knows nothing of downstream connections: the edge and the admin listener ask, and say for which address.
"""
