"""The key that hides the ids of patients which DICOM files carry."""

from __future__ import annotations

import hashlib
import hmac
import os

from fundus.parameters import invalid

#: The environment variable that holds the key; processes that are started later inherit it.
VARIABLE = "FUNDUS_PATIENT_KEY"

#: Hexadecimal digits of a hidden id: 64 bits, so that no two of a billion patients share one.
_DIGITS = 16


def set_patient_key(key: str | None) -> None:
    """Hide the patient ids of DICOM files from now on: keep a keyed hash in their place.

    The hash, HMAC-SHA-256, is the same for the same id and key, so that photographs of a patient
    stay together, also those of several data sets. Whoever has the key can tell which id a hash
    stands for, so keep it apart from the results. Ids that are read from the names of files are
    hidden as well, as a patient may have both; those in a table are left as they are.

    It writes the environment variable ``FUNDUS_PATIENT_KEY``, which can as well be set before
    Python or the command line starts.

    Parameters
    ----------
    key : str or None
        Any text; ``None`` to keep the ids as they are, which is the default.

    Raises
    ------
    InvalidParameterError
        If `key` is neither a text of a letter or more nor ``None``; and, when ids are read, if
        the variable is set and empty.

    Examples
    --------
    >>> import fundus
    >>> fundus.set_patient_key("a long secret of the clinic")
    >>> fundus.set_patient_key(None)
    """
    if key is None:
        os.environ.pop(VARIABLE, None)
        return
    if not isinstance(key, str) or not key.strip() or "\0" in key:
        # the key itself is no matter for a message
        raise invalid("set_patient_key", "key", "a str that is not empty or None", type(key))
    os.environ[VARIABLE] = key


def hidden(patient: str) -> str:
    """Return what stands for a patient's id: its hash where there is a key, else the id.

    Examples
    --------
    >>> hidden("0042")
    '0042'
    """
    key = os.environ.get(VARIABLE)
    if key is None:
        return patient
    if not key.strip():  # as of a file that is not there, in a shell
        raise invalid("the environment", VARIABLE, "a key that is not empty, or not set", key)
    return hmac.new(os.fsencode(key), os.fsencode(patient), hashlib.sha256).hexdigest()[:_DIGITS]
