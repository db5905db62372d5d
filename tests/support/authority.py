"""A certificate authority of one's own, made by openssl, and certificates that it issues."""

from __future__ import annotations

import os
import subprocess
from typing import NamedTuple

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Issued(NamedTuple):
    """A certificate and its key, as files in PEM."""

    certificate: str
    key: str


class Authority:
    """Keeps its files in the directory *home*, which it makes."""

    def __init__(self, home: str, name: str = "an authority of ours") -> None:
        os.makedirs(home)
        self._home = home
        self.certificate = f"{home}/ca.crt"
        self._key = f"{home}/ca.key"
        self._openssl(
            "req", "-x509", *_EC, "-keyout", self._key, "-out", self.certificate, "-subj", f"/CN={name}"
        )

    def issue(self, name: str, *alternatives: str, days: int = 2) -> Issued:
        """A certificate for *alternatives* like ``IP:127.0.0.1``; with -1 *days* it has run out."""
        made = Issued(f"{self._home}/{name}.crt", f"{self._home}/{name}.key")
        request = f"{self._home}/{name}.csr"
        names = ("-addext", f"subjectAltName={','.join(alternatives)}") if alternatives else ()
        self._openssl("req", *_EC, "-keyout", made.key, "-out", request, "-subj", f"/CN={name}", *names)
        signed = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-days", str(days))
        self._openssl(
            "x509", "-req", "-in", request, *signed, "-copy_extensions", "copy", "-out", made.certificate
        )
        return made

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True)
