"""A site is who its certificate says, and only the project's own root says so."""

import base64
import json
import stat
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from nvflare.lighter.entity import Project
from nvflare.lighter.impl.cert import CertBuilder
from nvflare.lighter.impl.workspace import WorkspaceBuilder
from nvflare.lighter.provisioner import Provisioner
from nvflare.lighter.utils import sign_content, verify_content

from fedefm.errors import MessageRejected, ProvisionError
from privacy import project_root
from privacy.identity import Identity, MessageSeal, ProjectRoot, ThrowAwayRoot
from privacy.signatures import DOMAIN

DATA = b"for a test: what a site says"
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
ROOT = ThrowAwayRoot()
NOW = datetime.now(timezone.utc)
DAY = timedelta(days=1)
KEYS: dict[str, Callable[[], Any]] = {
    "rsa-2048": lambda: rsa.generate_private_key(65537, 2048),
    "p-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


def named(*common_names: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names])


def a_certificate(
    subject: x509.Name,
    key: Any,
    issuer: x509.Name,
    issuer_key: Any,
    may_issue: bool | None = None,
    begin: datetime = NOW - DAY,
    end: datetime = NOW + DAY,
) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    if may_issue is not None:
        constraints = x509.BasicConstraints(ca=may_issue, path_length=None)
        builder = builder.add_extension(constraints, critical=True)
    algorithm = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer_key, algorithm).public_bytes(PEM)


def a_pem(der: bytes) -> bytes:
    body = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


class Study:
    """A root whose key the test holds."""

    def __init__(self, name: str = "study", **root: Any) -> None:
        self.name, self.key = named(name), ed25519.Ed25519PrivateKey.generate()
        self.pem = a_certificate(self.name, self.key, self.name, self.key, True, **root)
        self.root = ProjectRoot(self.pem)

    def issue(self, *common_names: str, key: Any = None, **rest: Any) -> Identity:
        key = key or ed25519.Ed25519PrivateKey.generate()
        pem = a_certificate(named(*common_names), key, self.name, self.key, **rest)
        return Identity("".join(common_names[:1]), pem, key)


@pytest.fixture
def project() -> Study:
    return Study()


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of kits that FLARE's own provisioning makes."""
    folder = tmp_path_factory.mktemp("workspace")
    flare = Project("study", "for a test")
    flare.set_server("server.example.org", "org", {"fed_learn_port": 8002, "admin_port": 8003})
    flare.add_client("hosp-a", "org", {})
    flare.add_client("hosp-b", "org", {})
    Provisioner(str(folder), [WorkspaceBuilder(), CertBuilder()]).provision(flare)
    return folder / "study" / "prod_00"


def of_kit(kits: Path, name: str) -> Identity:
    startup = kits / name / "startup"
    return Identity.load(name, startup / "client.crt", startup / "client.key")


def accepts(root: ProjectRoot, identity: Identity, name: str | None = None) -> None:
    root.verify(name or identity.name, identity.certificate, identity.sign(DATA), DATA)


# ---------------------------------------------------------------- kits that FLARE made


def test_a_site_speaks_with_the_kit_that_flare_made(kits: Path) -> None:
    root = ProjectRoot.load(kits / "hosp-b" / "startup" / "rootCA.pem")
    accepts(root, of_kit(kits, "hosp-a"))


def test_one_kit_cannot_speak_for_another_site(kits: Path) -> None:
    root = ProjectRoot.load(kits / "hosp-b" / "startup" / "rootCA.pem")
    with pytest.raises(MessageRejected, match=r"^hosp-a: its certificate is of 'hosp-b'.*own kit"):
        accepts(root, of_kit(kits, "hosp-b"), "hosp-a")


def test_flare_itself_verifies_our_rsa_signatures_but_for_their_first_words(kits: Path) -> None:
    identity = of_kit(kits, "hosp-a")
    public = x509.load_pem_x509_certificate(identity.certificate).public_key()
    verify_content(DOMAIN + DATA, identity.sign(DATA), public)


def test_what_flare_signs_with_the_same_key_is_no_signature_of_ours(kits: Path) -> None:
    identity = of_kit(kits, "hosp-a")
    root = ProjectRoot.load(kits / "hosp-a" / "startup" / "rootCA.pem")
    theirs = sign_content(DATA, identity.key, return_str=False)
    with pytest.raises(MessageRejected, match="hosp-a: its signature does not fit"):
        root.verify("hosp-a", identity.certificate, theirs, DATA)


# ---------------------------------------------------------------- signatures


@pytest.mark.parametrize("kind", KEYS)
def test_a_signature_holds_for_its_data_and_its_signer_only(project: Study, kind: str) -> None:
    identity, other = project.issue("a", key=KEYS[kind]()), project.issue("b")
    accepts(project.root, identity)
    signature = identity.sign(DATA)
    flipped = bytes([signature[0] ^ 1, *signature[1:]])
    for certificate, proof, data in (
        (identity.certificate, signature, DATA + b"."),
        (identity.certificate, flipped, DATA),
        (identity.certificate, b"", DATA),
        (identity.certificate, other.sign(DATA), DATA),
    ):
        with pytest.raises(MessageRejected, match=r"^a: its signature does not fit"):
            project.root.verify("a", certificate, proof, data)


@pytest.mark.parametrize("key", [ec.SECP521R1(), ec.SECP256K1(), rsa], ids=["521", "k1", "rsa"])
def test_keys_of_other_kinds_are_refused(project: Study, key: Any) -> None:
    made = rsa.generate_private_key(65537, 1024) if key is rsa else ec.generate_private_key(key)
    with pytest.raises(MessageRejected, match=r"^a: its certificate cannot be used.*provision"):
        accepts(project.root, project.issue("a", key=made))


# ---------------------------------------------------------------- who issued it


def test_a_certificate_of_another_project_is_refused_though_it_has_the_same_name(
    project: Study,
) -> None:
    stranger = Study("study")
    with pytest.raises(MessageRejected, match=r"^a: its certificate was not issued by this"):
        accepts(project.root, stranger.issue("a"))


def test_a_certificate_of_the_root_under_another_issuers_name_is_refused(
    project: Study,
) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    pem = a_certificate(named("a"), key, named("somebody"), project.key)
    with pytest.raises(MessageRejected, match="not issued by this project's root itself"):
        accepts(project.root, Identity("a", pem, key))


@pytest.mark.parametrize("claimed", ["study", "mallory"])
@pytest.mark.parametrize("may_issue", [None, True])
def test_what_a_sites_own_key_issued_is_refused(
    project: Study, claimed: str, may_issue: bool | None
) -> None:
    mallory = project.issue("mallory", may_issue=may_issue)
    key = ed25519.Ed25519PrivateKey.generate()
    pem = a_certificate(named("a"), key, named(claimed), mallory.key)
    for sent in (pem, pem + mallory.certificate):
        with pytest.raises(MessageRejected, match="not issued by this project's root itself"):
            accepts(project.root, Identity("a", sent, key))


def test_a_certificate_that_may_issue_others_is_no_sites(project: Study) -> None:
    with pytest.raises(MessageRejected, match=r"^a: its certificate is one that issues others"):
        accepts(project.root, project.issue("a", may_issue=True))
    with pytest.raises(MessageRejected, match=r"^study: its certificate is one that issues others"):
        accepts(project.root, Identity("study", project.pem, project.key))


def test_a_sites_certificate_is_no_root(project: Study) -> None:
    for may_issue in (None, False):
        with pytest.raises(ProvisionError, match=r"of 'a' is no root certificate.*rootCA\.pem"):
            ProjectRoot(project.issue("a", may_issue=may_issue).certificate)


# ---------------------------------------------------------------- whose it is


@pytest.mark.parametrize("name", ["A", "a ", " a", "aa", "a\0", "а", "", "a,CN=b"])
def test_names_are_compared_exactly(project: Study, name: str) -> None:
    identity = project.issue("a")
    with pytest.raises(MessageRejected, match="its certificate is of 'a'"):
        project.root.verify(name, identity.certificate, identity.sign(DATA), DATA)


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a"), ()])
def test_a_certificate_with_no_name_or_several_is_nobodys(
    project: Study, names: tuple[str, ...]
) -> None:
    identity = project.issue(*names)
    for name in ("a", "b", "None"):
        with pytest.raises(MessageRejected, match=f"^{name}: its certificate is of None"):
            accepts(project.root, identity, name)


def test_a_verified_certificate_serves_no_other_name(project: Study) -> None:
    a, b = project.issue("a"), project.issue("b")
    for _ in range(2):
        accepts(project.root, a)
        accepts(project.root, b)
        for identity, name in ((a, "b"), (b, "a")):
            with pytest.raises(MessageRejected, match=f"^{name}: its certificate is of"):
                accepts(project.root, identity, name)


def test_a_site_that_was_provisioned_again_is_accepted(project: Study) -> None:
    for _ in range(3):
        accepts(project.root, project.issue("a"))


# ---------------------------------------------------------------- when it is valid


def test_an_expired_certificate_is_refused(project: Study) -> None:
    with pytest.raises(MessageRejected, match=r"^a: the site's certificate expired .* `rotate`$"):
        accepts(project.root, project.issue("a", begin=NOW - 2 * DAY, end=NOW - DAY))


def test_a_certificate_of_tomorrow_is_refused(project: Study) -> None:
    with pytest.raises(MessageRejected, match=r"^a: the site's certificate is valid from.*clocks"):
        accepts(project.root, project.issue("a", begin=NOW + DAY, end=NOW + 2 * DAY))


def test_with_the_root_all_that_it_issued_expires() -> None:
    project = Study(begin=NOW - 2 * DAY, end=NOW - DAY)
    with pytest.raises(MessageRejected, match=r"^a: the project's root certificate expired on"):
        accepts(project.root, project.issue("a"))


def test_a_certificate_that_was_accepted_before_still_expires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return NOW + timedelta(hours=36)

    project = Study(end=NOW + 3 * DAY)
    identity = project.issue("a")
    accepts(project.root, identity)
    monkeypatch.setattr(project_root, "datetime", Later)
    with pytest.raises(MessageRejected, match=r"^a: the site's certificate expired"):
        accepts(project.root, identity)


# ---------------------------------------------------------------- what is no certificate


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(a_pem)))
def test_no_garbage_in_place_of_a_certificate_does_more_than_be_refused(garbage: bytes) -> None:
    with pytest.raises(MessageRejected, match=r"^a: "):
        ROOT.root.verify("a", garbage, b"", DATA)
    with pytest.raises(ProvisionError):
        ProjectRoot(garbage)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # which the change made negative
@given(st.data())
def test_a_certificate_with_any_bit_changed_that_the_root_signed_is_refused(
    data: st.DataObject,
) -> None:
    identity = ROOT.issue("a")
    certificate = x509.load_pem_x509_certificate(identity.certificate)
    der, signed = bytearray(certificate.public_bytes(DER)), certificate.tbs_certificate_bytes
    place = bytes(der).index(signed) + data.draw(st.integers(0, len(signed) - 1))
    der[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(MessageRejected, match=r"^a: "):
        ROOT.root.verify("a", a_pem(bytes(der)), identity.sign(DATA), DATA)


def test_a_certificate_longer_than_any_is_not_even_read(project: Study) -> None:
    identity = project.issue("a")
    padded = identity.certificate + b"\n" * 2**14
    with pytest.raises(MessageRejected, match=r"^a: its certificate is longer than 16384 bytes"):
        project.root.verify("a", padded, identity.sign(DATA), DATA)


# ---------------------------------------------------------------- files and secrets


def saved(folder: Path, *names: str) -> Path:
    root = ThrowAwayRoot()
    for name in names:
        root.issue(name)
    root.save(folder)
    return folder


def test_files_that_do_not_belong_together_are_named(tmp_path: Path) -> None:
    folder = saved(tmp_path, "a", "b")
    with pytest.raises(ProvisionError, match=r"a/client\.crt is the certificate of 'a', not of"):
        Identity.load("b", folder / "a" / "client.crt", folder / "b" / "client.key")
    with pytest.raises(ProvisionError, match=r"b/client\.key is not the key of .*a/client\.crt"):
        Identity.load("a", folder / "a" / "client.crt", folder / "b" / "client.key")
    with pytest.raises(ProvisionError, match=r"c/client\.crt cannot be read: No such file"):
        Identity.load("c", folder / "c" / "client.crt", folder / "c" / "client.key")
    with pytest.raises(ProvisionError, match=r"client\.key: the root certificate cannot be read"):
        ProjectRoot.load(folder / "a" / "client.key")


@pytest.mark.parametrize("content", ["password", "garbage", "certificate", "dsa"])
def test_a_key_file_that_cannot_be_used_is_named_and_never_quoted(
    tmp_path: Path, content: str
) -> None:
    place = saved(tmp_path, "a") / "a"
    key = serialization.load_pem_private_key((place / "client.key").read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"sesame")
    (place / "client.key").write_bytes(
        {
            "password": key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, locked),
            "garbage": b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
            "certificate": (place / "client.crt").read_bytes(),
            "dsa": ec.generate_private_key(ec.SECP521R1()).private_bytes(
                PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        }[content]
    )
    with pytest.raises(ProvisionError, match=r"a/client\.key holds no private key that can") as got:
        Identity.load("a", place / "client.crt", place / "client.key")
    body = (place / "client.key").read_text().splitlines()[1]
    assert body not in str(got.value)
    assert got.value.__cause__ is None


def test_no_text_of_an_identity_shows_its_key() -> None:
    identity = ThrowAwayRoot().issue("a")
    raw = identity.key.private_bytes_raw()  # type: ignore[union-attr]
    pem = identity.key.private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    seal = MessageSeal(identity, ThrowAwayRoot().root)
    for text in (repr(identity), str(identity), f"{identity}", repr(seal), seal.sign(DATA)):
        assert raw.hex() not in text
        assert pem.decode().splitlines()[1] not in text
    assert "'a'" in repr(identity)


def test_a_throw_away_root_gives_processes_what_they_need_and_keeps_its_own_key(
    tmp_path: Path,
) -> None:
    folder = saved(tmp_path, "a", "b")
    loaded = {
        name: Identity.load(name, folder / name / "client.crt", folder / name / "client.key")
        for name in ("a", "b")
    }
    for reader in loaded:
        root = ProjectRoot.load(folder / reader / "rootCA.pem")
        for identity in loaded.values():
            accepts(root, identity)
    for name in loaded:
        assert {path.name for path in (folder / name).iterdir()} == {
            "rootCA.pem",
            "client.crt",
            "client.key",
        }
        assert stat.S_IMODE((folder / name / "client.key").stat().st_mode) == 0o600
    issuer = x509.load_pem_x509_certificate((folder / "a" / "rootCA.pem").read_bytes())
    assert all(each.key.public_key() != issuer.public_key() for each in loaded.values())


def test_throw_away_roots_do_not_know_each_other() -> None:
    ours, theirs = ThrowAwayRoot(), ThrowAwayRoot()
    assert ours.issue("a") is ours.issue("a")
    with pytest.raises(MessageRejected, match="not issued by this project's root"):
        accepts(ours.root, theirs.issue("a"))


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_a_name_that_no_certificate_can_hold_is_named(name: str) -> None:
    with pytest.raises(ProvisionError, match=f"site name '{name}' cannot stand in a certificate"):
        ThrowAwayRoot().issue(name)


# ---------------------------------------------------------------- seals of messages


def test_a_sealed_message_is_its_senders_and_unchanged() -> None:
    root = ThrowAwayRoot()
    a, b = (MessageSeal(root.issue(name), root.root) for name in "ab")
    seal = a.sign(DATA)
    b.verify("a", DATA, seal)
    with pytest.raises(MessageRejected, match=r"^a: its signature does not fit"):
        b.verify("a", DATA + b".", seal)
    with pytest.raises(MessageRejected, match=r"^c: its certificate is of 'a'"):
        b.verify("c", DATA, seal)
    with pytest.raises(MessageRejected, match=r"^a: it did not sign its message"):
        b.verify("a", DATA, "")
    with pytest.raises(MessageRejected, match=r"^a: its certificate was not issued"):
        b.verify("a", DATA, MessageSeal(ThrowAwayRoot().issue("a"), root.root).sign(DATA))


def test_the_seal_of_a_message_is_no_signature_of_anything_else() -> None:
    root = ThrowAwayRoot()
    identity = root.issue("a")
    seal = json.loads(MessageSeal(identity, root.root).sign(DATA))
    with pytest.raises(MessageRejected, match=r"^a: its signature does not fit"):
        root.root.verify("a", identity.certificate, bytes.fromhex(seal["signature"]), DATA)
    plain = json.dumps({**seal, "signature": identity.sign(DATA).hex()})
    with pytest.raises(MessageRejected, match=r"^a: its signature does not fit"):
        MessageSeal(identity, root.root).verify("a", DATA, plain)


FIELDS = st.sampled_from(["certificate", "signature", "more"])
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.just("ab"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=3),
    max_leaves=6,
)


@given(st.one_of(st.text(min_size=1), JSON.map(json.dumps), st.just("[" * 40_000)))
def test_no_garbage_in_place_of_a_seal_does_more_than_be_refused(seal: str) -> None:
    with pytest.raises(MessageRejected, match=r"^a: "):
        MessageSeal(ROOT.issue("b"), ROOT.root).verify("a", DATA, seal)
