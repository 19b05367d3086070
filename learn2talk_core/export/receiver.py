"""Addresses of programs that receive curves over the network."""

import socket
from typing import Any

from learn2talk_core.run.errors import BadInput

PORT = 11111  # of Live Link Face


def receiver_address(where: str, option: str) -> tuple[Any, ...]:
    """What `socket.getaddrinfo` knows of HOST:PORT, or of HOST with the port of Live Link Face, for UDP.

    Args:
        where: the address.
        option: how the user gave it, for errors.

    Raises:
        BadInput: not such an address, or a host that is not known.
    """
    host, colon, port = where.rpartition(":")
    if not colon:
        host, port = where, str(PORT)
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadInput(option, expected="HOST:PORT", found=where, fix=f"Such as 192.168.1.20:{PORT}.")
    try:
        return socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
    except OSError as error:
        found = f"{where}: {error}"
        raise BadInput(option, expected="a host that is known", found=found, fix="Check it.") from error
