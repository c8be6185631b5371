"""A configured pair of files, followed: what is loaded of it, and what is wrong with the files since.

A broken pair never takes a certificate away: what was read last stays, and one line says what is wrong. Nor does one
that no browser would take now, while what is loaded is valid: it waits until its time has come.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from gateway.file_changes import FileChanges
from gateway.tls.errors import CertificateError
from gateway.tls.pair import Certificate, CertificatePair, read_pair

log = logging.getLogger("gateway.tls")

_NEVER = datetime.max.replace(tzinfo=UTC)


class FollowedPair:
    """One pair. `look` may be called in any thread, by one at a time."""

    __slots__ = ("_again", "_files", "_said", "certificate", "pair", "speaks", "trouble")

    def __init__(self, pair: CertificatePair, earlier: Certificate | None = None) -> None:
        """Reads it; never fails, see `trouble`, and says nothing before the first look. `earlier` is what was loaded of
        it before, and stays if the files are broken now.
        """
        self.pair = pair
        self.certificate = earlier
        """What was read last and is to be served; None: nothing yet."""
        self.trouble: CertificateError | None = None
        """What is wrong with the files as they are now."""
        self.speaks = True
        """Whether this process tells of it; all others log at debug."""
        self._said: object = None  # the state of files and the sentence that were logged last
        self._again = _NEVER  # when what has waited for its time is looked at again
        self._files = FileChanges(pair.cert, pair.key)
        try:
            # Not marked as read: what is written within the same tick of the clock has the same times (4 ms).
            self.certificate = read_pair(pair)
        except CertificateError as error:
            self.trouble = error

    def __repr__(self) -> str:
        return f"<FollowedPair {self.pair.cert} {self.trouble or 'fine'}>"

    def look(self, now: datetime) -> bool:
        """Looks at the files and reads them if they have changed; whether there is another certificate since."""
        files = self._files
        if not files.look() and now < self._again:
            return False
        try:
            found = read_pair(self.pair)
        except CertificateError as error:
            if files.at_rest and not files.have_moved_on():
                if not isinstance(error.__cause__, OSError):  # that may pass and leave no trace in the file
                    files.mark_read()
                self.trouble = error
                self._complain()
            return False
        if files.have_moved_on():
            return False
        files.mark_read()
        self._again = _NEVER
        loaded = self.certificate
        if found != loaded and loaded is not None and loaded.is_valid(now) and (why := found.invalidity(now)):
            self._again = min(loaded.not_after, found.not_before if now < found.not_before else _NEVER)
            self.trouble = why
            self._complain()
            return False
        self.certificate = found
        if found != loaded:
            until = f"{found.kind}, valid until {found.not_after:%Y-%m-%d at %H:%M UTC}"
            self._say(logging.INFO, "%s has changed and is served from now on (%s)", self.pair.cert, until)
        elif self.trouble is not None:
            self._say(logging.INFO, "%s is fine again: it is what is served", self.pair.cert)
        self.trouble, self._said = None, None
        return found != loaded

    def _complain(self) -> None:
        """Says what is wrong, if anything is: once for each state of the files."""
        error, loaded = self.trouble, self.certificate
        if error is None or self._said == (saying := (self._files.state, str(error))):
            return
        self._said = saying
        if loaded is None:
            self._say(logging.ERROR, "%s Nothing is served of this pair until that is put right.", error)
        else:
            until = f"{loaded.not_after:%Y-%m-%d}"
            self._say(logging.ERROR, "%s The one from before, valid until %s, is served on.", error, until)

    def _say(self, level: int, message: str, *arguments: object) -> None:
        log.log(level if self.speaks else logging.DEBUG, message, *arguments)
