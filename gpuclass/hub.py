"""Settings in, JupyterHub's configuration out: one small function for each concern. Decides nothing at run time.

Only `begin` acts: it starts the queue and the look for idle seats inside the hub that reads this configuration.
"""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import httpx
from jupyterhub.app import JupyterHub

from gpuclass import images, network, roles
from gpuclass.accounts import Accounts
from gpuclass.gpus.devices import read_snapshots
from gpuclass.gpus.ledger import put_aside_if_damaged
from gpuclass.gpus.model import Inventory, Mode
from gpuclass.login import authenticator_class
from gpuclass.mounts import HOME
from gpuclass.queue import broker as brokers
from gpuclass.queue import metrics, pages
from gpuclass.queue.docker_engine import DockerEngine
from gpuclass.queue.hubapi import HubApi
from gpuclass.secrets import token
from gpuclass.settings import Settings
from gpuclass.spawner import PORT, ClassSpawner, host_config
from gpuclass.watch.notices import Board
from gpuclass.watch.reclaim import Reclaimer, Servers, inspector
from gpuclass.watch.usage import Usage, read_usage

TEMPLATES = Path(__file__).parent / "templates"
SPAWNS_AT_ONCE = 0  # no limit in the hub, which answers 429; the queue takes them in turn


class QuickCommits(sqlite3.Connection):
    """A connection whose commits do not wait for the disk.

    The hub commits about ten times a start, on its event loop, and eighty starts at once would wait for each other's.
    A hub that is killed loses nothing. After a power cut the last commits may be gone, and the database is whole: what
    runs then is nothing, and who is in the class stands in the roster.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=NORMAL")


def begin(settings: Settings) -> None:
    """Begin what the hub does beside answering: the queue, and looking for idle seats.

    JupyterHub reads its configuration in its event loop. So do ``jupyterhub token``, ``upgrade-db`` and others, beside
    a hub that runs: for them nothing is begun.
    """
    if not _in_the_hub():
        return
    folder = settings.gpus_folder

    def inventories() -> list[Inventory]:
        return read_snapshots(folder, time.time())

    def usages() -> list[Usage]:
        found = (read_usage(folder, inventory.engine, time.time()) for inventory in inventories())
        return [usage for usage in found if usage]

    if aside := put_aside_if_damaged(settings.ledger_path):
        logging.getLogger(__name__).critical(
            "The ledger of seats was damaged and is now %s. Who holds which seat is read from the running containers; "
            "the queue and the hours that people had are lost.",
            aside,
        )
    waits = metrics.register(brokers.current, inventories, usages)
    broker = brokers.Broker(
        settings,
        metrics.MeteredLedger(settings.ledger_path, waits),
        DockerEngine(),
        inventories=inventories,
        cores=len(os.sched_getaffinity(0)),
    )
    brokers.install(broker)
    hub = HubApi(settings.hub_api, token(settings.secrets, roles.QUEUE_SERVICE))
    broker.begin(hub)
    if settings.gpu.mode is not Mode.OFF:
        servers = Servers(settings, inspector(), httpx.AsyncClient(trust_env=False))
        board = Board(settings.notices, "hub")
        Reclaimer(settings, servers.kernels_of, hub.stop_server, board, broker.reclaimed.add).begin(broker.ledger.live)


def _in_the_hub() -> bool:
    """Whether this process serves people. A subcommand takes the place of JupyterHub's single instance; the flags do
    their work where the hub would have started."""
    app = JupyterHub.instance() if JupyterHub.initialized() else None
    return app is not None and not (app.show_config or app.show_config_json or app.generate_certs)


def configure(c: Any, settings: Settings) -> None:
    """Fill JupyterHub's configuration ``c`` for one class."""
    configure_site(c, settings)
    configure_proxy(c, settings)
    configure_persistence(c, settings)
    configure_login(c, settings)
    configure_roles(c, settings)
    configure_services(c, settings)
    configure_spawner(c, settings)


def configure_site(c: Any, settings: Settings) -> None:
    """Addresses: one for people, one for containers; pages in the class's look."""
    hub = f"http://{settings.gateway}:{settings.site.hub_port}"
    c.JupyterHub.hub_bind_url = hub
    c.JupyterHub.hub_connect_url = hub
    c.JupyterHub.bind_url = f"http://{settings.site.listen}:{settings.site.port}"
    if settings.site.subdomains:
        c.JupyterHub.subdomain_host = settings.site.address
    else:
        c.JupyterHub.public_url = settings.site.address + "/"
    c.JupyterHub.template_paths = [str(TEMPLATES)]
    c.JupyterHub.template_vars = pages.template_vars(settings, brokers.current)
    c.JupyterHub.authenticate_prometheus = True


def configure_proxy(c: Any, settings: Settings) -> None:
    """The proxy is a process of its own, so that a restart of the hub cuts no connection."""
    c.JupyterHub.proxy_class = "configurable-http-proxy"
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{settings.site.proxy_api_port}"
    c.ConfigurableHTTPProxy.auth_token = token(settings.secrets, "proxy")
    c.JupyterHub.cleanup_proxy = False
    c.JupyterHub.cleanup_servers = False
    # A server that was starting when the hub was killed waits for the hub to answer; the hub must not wait for it.
    c.JupyterHub.init_spawners_timeout = 1


def configure_persistence(c: Any, settings: Settings) -> None:
    """What the hub must remember lies in the data folder."""
    folder = settings.data / "hub"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    c.JupyterHub.db_url = f"sqlite:///{folder / 'jupyterhub.sqlite'}"
    c.JupyterHub.db_kwargs = {"connect_args": {"factory": QuickCommits, "check_same_thread": False}}
    c.JupyterHub.cookie_secret = bytes.fromhex(token(settings.secrets, "cookie"))


def configure_login(c: Any, settings: Settings) -> None:
    """Who may log in, from the roster."""
    c.JupyterHub.authenticator_class = authenticator_class(settings)


def configure_roles(c: Any, settings: Settings) -> None:
    """RBAC roles and scopes; the groups that carry them are the authenticator's, which knows the roster."""
    c.JupyterHub.load_roles = roles.load_roles(settings, Accounts(settings.accounts_path).roster())
    c.Spawner.server_token_scopes = roles.server_token_scopes()


def configure_services(c: Any, settings: Settings) -> None:
    """Processes beside the hub; each has a token of its own and is started by somebody else."""
    c.JupyterHub.services = [
        {
            "name": roles.EXCHANGE_SERVICE,
            "url": f"http://{settings.gateway}:{settings.site.exchange_port}",
            "api_token": token(settings.secrets, roles.EXCHANGE_SERVICE),
            "oauth_no_confirm": True,
            "display": False,
        },
        {
            "name": roles.DESK_SERVICE,
            "url": f"http://{settings.gateway}:{settings.site.desk_port}",
            "api_token": token(settings.secrets, roles.DESK_SERVICE),
            "oauth_redirect_uri": f"{settings.desk_site}/services/{roles.DESK_SERVICE}/oauth_callback",
            "oauth_no_confirm": True,
            "display": False,
        },
        {"name": roles.ROSTER_SERVICE, "api_token": token(settings.secrets, roles.ROSTER_SERVICE)},
        {"name": roles.QUEUE_SERVICE, "api_token": token(settings.secrets, roles.QUEUE_SERVICE)},
    ]


def configure_spawner(c: Any, settings: Settings) -> None:
    """One container a user, all hardened alike."""
    c.JupyterHub.spawner_class = ClassSpawner
    c.JupyterHub.concurrent_spawn_limit = SPAWNS_AT_ONCE
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}  # whoever waits in the queue is told at once that they do
    c.JupyterHub.allow_named_servers = False
    c.ClassSpawner.settings = settings
    if settings.gpu.mode is not Mode.OFF:
        c.ClassSpawner.options_form = pages.options_form(settings, brokers.current)
        c.ClassSpawner.options_from_form = pages.options_from_form(settings)
    c.ClassSpawner.image = settings.server.image or images.reference("student")
    c.ClassSpawner.pull_policy = "skip"  # not even a look whether it is there: creating the container says so
    c.ClassSpawner.name_template = f"gpuclass-{settings.class_.name}-{{username}}"
    c.ClassSpawner.network_name = settings.network_name
    c.ClassSpawner.use_internal_ip = True
    c.ClassSpawner.port = PORT
    c.ClassSpawner.remove = True
    c.ClassSpawner.cpu_limit = settings.server.cpus
    c.ClassSpawner.mem_limit = settings.server.memory
    c.ClassSpawner.notebook_dir = HOME
    c.ClassSpawner.disable_user_config = True  # a broken file in ~/.jupyter must not keep a student out
    c.ClassSpawner.default_url = "/lab"
    c.ClassSpawner.start_timeout = math.ceil(settings.server.start_timeout)
    c.ClassSpawner.http_timeout = math.ceil(settings.server.start_timeout)
    c.ClassSpawner.consecutive_failure_limit = 0  # a failed start is one student's trouble, not the hub's
    c.ClassSpawner.extra_host_config = {**host_config(settings), **network.dns(settings)}
