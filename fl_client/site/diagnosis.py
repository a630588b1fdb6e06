"""The reason why a site does not reach its coordinator, in one line for a person."""

import shutil
import socket
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from fl_client.site.invitation import split_address
from fl_client.site.site_folder import SiteFolder, SiteSettings

# With less free space, writing a model or a log may fail.
FREE_BYTES = 1 << 30

_TIMEOUT_SECONDS = 5.0

# Flower's SYSTEM_TIME_TOLERANCE and TIMESTAMP_TOLERANCE.
_SECONDS_AHEAD, _SECONDS_BEHIND = 5.0, 300.0

# OpenSSL's numbers, from its x509_vfy.h.
_NOT_YET_VALID, _EXPIRED = 9, 10
_HOSTNAME, _IP_ADDRESS = 62, 64

# Flower's refusal to activate a node: its key is unknown, or it is still regarded as online.
_NOT_ACTIVATED = "[code: 2004]"


def local_fault(site: SiteFolder, settings: SiteSettings) -> str | None:
    """Return what is missing on this machine itself; None if nothing."""
    if not Path(settings.data_dir).is_dir():
        return f"the data folder {settings.data_dir} is missing; mount it, or correct site.toml"
    if shutil.disk_usage(site.path).free < FREE_BYTES:
        return f"{site.path}: less than {FREE_BYTES >> 30} GB is free; free disk space"
    return None


def connection_fault(settings: SiteSettings, ca: Path) -> str | None:
    """Try to reach the coordinator; return why it cannot be reached or trusted, None if it can."""
    host, port = split_address(settings.address)
    where = settings.address
    context = ssl.create_default_context(cafile=str(ca))
    try:
        with (
            socket.create_connection((host, port), _TIMEOUT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return None
    except ssl.SSLCertVerificationError as error:
        clock = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        match error.verify_code:
            case code if code == _EXPIRED:
                return (
                    f"the certificate of {where} has expired, or this machine's clock ({clock}) "
                    "is wrong; the coordinator renews it with  fedskin coordinator renew"
                )
            case code if code == _NOT_YET_VALID:
                return (
                    f"the certificate of {where} is not valid yet by this machine's clock "
                    f"({clock}); set the clock"
                )
            case code if code in (_HOSTNAME, _IP_ADDRESS):
                return (
                    f"the certificate of {where} is for another name; compare the address in "
                    "site.toml with the coordinator's"
                )
        return (
            f"{where} shows a certificate that is not of the invitation's CA; compare the "
            "fingerprint by telephone before anything else"
        )
    except ssl.SSLError:
        return (
            f"{where} does not speak TLS; compare the address in site.toml with the coordinator's"
        )
    except (socket.gaierror, UnicodeError):  # of a name that no DNS can hold
        return f"the name {host} is not known here; check the address in site.toml and the DNS"
    except OSError as error:
        return (
            f"{where} is not reachable ({error.strerror or 'no answer'}); the coordinator may be "
            "down, or a firewall in between: outbound connections to that port must be allowed"
        )


def clock_fault(settings: SiteSettings, ca: Path) -> str | None:
    """Compare the clocks; return a message if they differ by more than Flower allows.

    The coordinator states its time in every answer, also when it refuses this request. None if it
    does not.
    """
    import httpx

    context = ssl.create_default_context(cafile=str(ca))
    try:
        answer = httpx.get(
            f"https://{settings.address}/",
            verify=context,
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,
        )
        there = parsedate_to_datetime(answer.headers["date"])
    except (httpx.HTTPError, KeyError, ValueError):
        return None
    ahead = (datetime.now(UTC) - there).total_seconds()
    if -_SECONDS_BEHIND < ahead < _SECONDS_AHEAD:
        return None
    return (
        f"this machine's clock is {abs(ahead):.0f} seconds {'ahead of' if ahead > 0 else 'behind'} "
        f"the coordinator's; set them both (NTP): {_SECONDS_AHEAD:.0f} ahead and "
        f"{_SECONDS_BEHIND:.0f} behind are allowed"
    )


def refused_by_coordinator(said: str) -> bool:
    """Return whether the coordinator refused the connection, from a SuperNode's last output."""
    return _NOT_ACTIVATED in said
