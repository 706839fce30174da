"""What workers send to those who collect log lines: see `TitanClient.attach_collector`."""

from titan_core.protocol.datagrams import KEY_BYTES, MAX_DATAGRAM, Printed, read_datagram

__all__ = ["KEY_BYTES", "MAX_DATAGRAM", "Printed", "read_datagram"]
