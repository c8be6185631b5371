"""The inspector of `gateway dev`: the last exchanges with their bodies, live, to look into, filter, copy and replay.

    Capture -----> Store <----- Live, views, har      (what passes the seam is kept, and told on)
       ^                          |
    the edge  <--- replay <----- routes <---- the page, curl

It looks on where every exchange passes: between a downstream stream and its exchange. Whoever stands there sees what
came and what was answered, whatever HTTP version either side speaks, and no line of the road itself knows of it.
Nothing of `serve` imports this room.

What is kept is bounded (`Store`), what is shown is inert: names, fields and bodies are strangers', and the page puts
them in as text.
"""
