"""The HTTP endpoint, on the daemon's own loop: /metrics, /livez, /readyz.

Machines look at the status code only; people add ``?verbose`` and get a line per check.
"""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from triggerd.errors import TriggerdError
from triggerd.metrics import Metrics
from triggerd.settings import HttpSettings

Checks = Callable[[], Mapping[str, bool]]
"""Check name -> whether it passes."""


class HttpServer:
    """Serves metrics and health. `address` is ``host:port`` with the real port, "" while it does not listen."""

    def __init__(self, settings: HttpSettings, metrics: Metrics, *, alive: Checks, ready: Checks) -> None:
        """
        Args:
            alive: Progress of the daemon's own loops; fails only where a restart helps.
            ready: Whether this daemon takes work now: started, Redis reachable, not draining.
        """
        self._settings, self._metrics = settings, metrics
        self._alive, self._ready = alive, ready
        self._runner: web.AppRunner | None = None
        self.address = ""

    async def start(self) -> None:
        """Listen.

        Raises:
            TriggerdError: The address is taken or not ours.
        """
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", make_aiohttp_handler(self._metrics.registry)),
                web.get("/livez", _health(self._alive)),
                web.get("/readyz", _health(self._ready)),
            ]
        )
        # No access log: a line per scrape tells nothing. No signal handlers: the daemon has its own.
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._settings.host, self._settings.port)
        try:
            await site.start()
        except OSError as error:
            await self.stop()
            # No ConfigError: who holds the port may be gone at the next start.
            address = f"{self._settings.host}:{self._settings.port}"
            raise TriggerdError(f"http: cannot listen on {address}: {error.strerror or error}") from error
        host, port = self._runner.addresses[0][:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def stop(self) -> None:
        """Close the socket and every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


def _health(checks: Checks) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        results = checks()
        well = all(results.values())
        text = "ok\n" if well else "not ok\n"
        if "verbose" in request.query or not well:
            text = "".join(f"[{'+' if passed else '-'}]{name}\n" for name, passed in results.items()) + text
        return web.Response(text=text, status=200 if well else 503)

    return answer
