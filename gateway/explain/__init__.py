"""A doctor for one URL: walks the road that a request takes, step by step, and says where it ends and why.

`engine` walks, `url` reads what was typed, `question` asks the app, `words` tell its answer, `report` is what comes
out, `terminal` shows it, `remote` has a running gateway do it all. Knows nothing of downstream connections: it asks as
the edge would, and is told by whoever makes its `Context` which fields the edge would add.
"""
