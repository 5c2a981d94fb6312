"""One call to an address that is itself a secret: the heartbeat's.  Here because httpx has its home here.

Refuses to follow redirects, to read an answer, and to repeat the address or a library's words.
"""

import asyncio
from typing import Final

import httpx

from monitor.providers.http import open_client
from monitor.providers.mishaps import explain

DEADLINE: Final = 10.0  # seconds
USER_AGENT: Final = "credit-monitor"


async def ping(url: str) -> str | None:
    """One GET; None when it was taken, else what went wrong."""
    try:
        async with asyncio.timeout(DEADLINE), open_client() as client:
            request = httpx.Request("GET", url, headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
            response = await client.send(request, stream=True, follow_redirects=False)
            await response.aclose()
    except TimeoutError:
        return f"no answer within {DEADLINE:.0f} s"
    except Exception as error:  # noqa: BLE001 -- whatever the libraries raise over a stranger's bytes
        return str(explain(error)).replace("the vendor", "its server")
    if response.is_redirect:
        return "its server redirects elsewhere, which is not followed"
    return None if response.is_success else f"its server answered {response.status_code}"
