"""BYTES <-> VALUES: the wire format, and nothing that knows about sockets, threads or scheduling."""
