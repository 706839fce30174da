"""SOCKETS <-> FRAMES: connections, the listening server, and the proof that a peer knows the token."""
