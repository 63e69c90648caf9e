"""Can a site reach its server, is it that server, and does it take the site's certificate?

Asked with the kit's own files, in the way in which FLARE connects (TLS, certificates on both
sides), without starting FLARE. The server need know nothing of it.
"""

import os
import socket
import ssl

from provisioning.address import Address
from provisioning.finding import Finding, ok, problem, warning

CHECK = "server"
PATIENCE_S = 5.0  # for the connection and for each answer
ANSWER_S = 2.0  # a server that refuses a certificate says so at once
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # as gRPC begins
PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")  # gRPC goes by these, as browsers do
NOT_IN_CERTIFICATE = (62, 64)  # OpenSSL: X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH


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
        return _talked(address, plain)


def _talked(address: Address, plain: socket.socket) -> Finding:
    where = f"{address.host}:{address.port}"
    try:
        with _context(address).wrap_socket(plain, server_hostname=address.host) as secure:
            said = secure.getpeercert() or {}
            if _common_name(said) != address.server:
                return problem(
                    CHECK,
                    f"{where} is {_common_name(said)!r} by its certificate, and this kit is for "
                    f"{address.server!r}",
                    "take the kit of the project whose server this is",
                )
            return _accepted(where, secure)
    except ssl.SSLCertVerificationError as error:
        return _mistrusted(address, error)
    except ssl.SSLError as error:
        return problem(
            CHECK,
            f"{where} answers, and not with TLS as FLARE speaks it ({error.reason or error})",
            "ask whether a proxy or another service listens there",
        )
    except OSError as error:
        return problem(
            CHECK,
            f"{where} ended the connection ({error.strerror or type(error).__name__})",
            "ask whether a firewall inspects or cuts TLS connections to it",
        )


def _context(address: Address) -> ssl.SSLContext:
    """TLS as FLARE's gRPC has it: the project's root alone is trusted, and we show ours."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(address.root)
    context.load_cert_chain(address.certificate, address.key)
    context.set_alpn_protocols(["h2"])
    return context


def _accepted(where: str, secure: ssl.SSLSocket) -> Finding:
    """With TLS 1.3 a refused certificate shows only in what comes after the handshake."""
    secure.settimeout(ANSWER_S)
    try:
        secure.sendall(HELLO)
        answer = secure.recv(1)
    except TimeoutError:
        answer = b"silent"
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        return problem(
            CHECK,
            f"{where} refuses this kit's certificate ({reason})",
            "have this kit made again by the project that the server belongs to",
        )
    if not answer:
        return problem(
            CHECK,
            f"{where} ended the connection after it saw this kit's certificate",
            "have this kit made again by the project that the server belongs to",
        )
    return ok(CHECK, f"{where} is reached, is the project's server, and takes our certificate")


def _mistrusted(address: Address, error: ssl.SSLCertVerificationError) -> Finding:
    where = f"{address.host}:{address.port}"
    if error.verify_code in NOT_IN_CERTIFICATE:
        return problem(
            CHECK,
            f"the certificate of {where} is not for the name {address.host!r}",
            "have the server's kit made with this name (its `default_host` or `host_names`), or "
            "reach it by the name in its certificate",
        )
    return problem(
        CHECK,
        f"the certificate of {where} is not one of this project ({error.verify_message})",
        "ask whether a firewall there opens TLS (exempt this address), or whether the server "
        "runs another project's kit",
    )


def _common_name(certificate: object) -> str:
    subject = certificate.get("subject", ()) if isinstance(certificate, dict) else ()
    names = [value for part in subject for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else ""
