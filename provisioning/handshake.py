"""A TLS handshake with the project's server, as FLARE's gRPC has it, and what it tells."""

import socket
import ssl

from provisioning.address import Address
from provisioning.finding import Finding, ok, problem

CHECK = "server"
ANSWER_S = 2.0  # a server that refuses a certificate says so at once
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # as gRPC begins
NOT_IN_CERTIFICATE = (62, 64)  # OpenSSL: X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH


def shake_hands(address: Address, plain: socket.socket, context: ssl.SSLContext) -> Finding:
    """Whether it is this project's server, and takes the certificate in ``context``."""
    where = f"{address.host}:{address.port}"
    try:
        with context.wrap_socket(plain, server_hostname=address.host) as secure:
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


def context_of(address: Address) -> ssl.SSLContext:
    """The project's root alone is trusted, and we show our certificate.

    Raises OSError where the kit's files are missing, broken, or not of each other.
    """
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
