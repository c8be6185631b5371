"""`gateway dev --lan`: the exposed apps for phones and other machines of the local network, by multicast DNS.

interfaces -> lan (follows what addresses there are) -> sockets, names, certificate, announcement
door (who may ask for what) <- front; page (what a phone needs first); telling (what the terminal says)

What the network is let have is a list of names, one for each exposed port, and one page. Everything else that a
neighbour asks for is refused before any exchange: other ports of this machine, the index. The inspector and the admin
API are not even listened for there.

What needs the packages of the extra `lan` is imported only if it is asked for.
"""
