"""Can a site reach its server, is it that server, and does it take the site's certificate?

Asked with the kit's own files, in the way in which FLARE connects (TLS, certificates on both
sides), without starting FLARE. The server need know nothing of it.
"""

import os
import socket

from provisioning.address import Address
from provisioning.finding import Finding, ok, problem, warning
from provisioning.handshake import CHECK, context_of, shake_hands

PATIENCE_S = 5.0  # for the connection and for each answer
PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")  # gRPC goes by these, as browsers do


def reach_server(address: Address) -> list[Finding]:
    """The findings about the way from this site to its server: one, and a second of a proxy."""
    found = [_reached(address)]
    proxy = next((name for name in PROXIES if os.environ.get(name)), None)
    exempt = os.environ.get("no_proxy", "")
    if proxy and address.host not in [part.strip() for part in exempt.split(",")]:
        found.append(
            warning(
                "proxy",
                f"{proxy} is set, so FLARE goes to {address.host} through that proxy, and this "
                "check did not",
                f"add {address.host} to no_proxy unless the way through the proxy is meant",
            )
        )
    return found


def port_of_server(address: Address) -> Finding:
    """At the server itself: is its port free, or taken by itself?"""
    where = f"port {address.port}"
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", address.port))
        except PermissionError:
            return problem(
                CHECK,
                f"{where} may not be opened by this account",
                "take a port above 1023, or let this account open it",
            )
        except OSError:
            return _taken(address)
    return ok(CHECK, f"{where} is free; sites must be able to open {address.host}:{address.port}")


def _taken(address: Address) -> Finding:
    found = _reached(address)
    if found.verdict == "ok":
        return ok(CHECK, f"port {address.port} is in use by this project's server, which answers")
    return problem(
        CHECK,
        f"port {address.port} is taken by something else",
        "stop what listens there, or have the kits made for another port",
    )


def _reached(address: Address) -> Finding:
    where = f"{address.host}:{address.port}"
    try:
        context = context_of(address)
    except OSError as error:
        return problem(
            CHECK,
            f"certificate, key and root in {address.startup} cannot be used together ({error})",
            "put the files of startup/ back from the kit as it was delivered",
        )
    try:
        addresses = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        return problem(
            CHECK,
            f"the name {address.host!r} cannot be resolved ({error.strerror or error})",
            "add it to DNS or to /etc/hosts of this machine",
        )
    numeric = str(addresses[0][4][0])
    try:
        plain = socket.create_connection((address.host, address.port), timeout=PATIENCE_S)
    except TimeoutError:
        return problem(
            CHECK,
            f"{where} ({numeric}) did not answer within {PATIENCE_S:g} s",
            f"open outgoing TCP to {where} in the firewall, and ask whether the server runs",
        )
    except OSError as error:
        return problem(
            CHECK,
            f"{where} ({numeric}) cannot be reached ({error.strerror or error})",
            "ask whether the server runs, and whether the firewall lets this machine through",
        )
    with plain:
        return shake_hands(address, plain, context)
