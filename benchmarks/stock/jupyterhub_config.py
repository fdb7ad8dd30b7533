"""A hub as the documentation of JupyterHub and DockerSpawner sets one up: what benchmarks/storm.py compares with.

Everything that is not here has its default. What is here is what such a hub cannot run without: an address that
containers reach, an image, somebody who may log in. The two timeouts are the only help it gets: with the defaults
(60 s and 30 s) most of eighty starts would fail.
"""

import os

c = get_config()  # type: ignore[name-defined]  # noqa: F821  # given by JupyterHub

c.JupyterHub.bind_url = f"http://127.0.0.1:{os.environ['STORM_PORT']}"
c.JupyterHub.hub_ip = os.environ["STORM_GATEWAY"]  # the host's address on Docker's default bridge
c.JupyterHub.hub_port = int(os.environ["STORM_HUB_PORT"])
c.ConfigurableHTTPProxy.command = os.environ["STORM_PROXY"].split()
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{os.environ['STORM_PROXY_API_PORT']}"

c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = os.environ["STORM_PASSWORD"]
c.Authenticator.allow_all = True

c.JupyterHub.spawner_class = "docker"
c.DockerSpawner.image = os.environ["STORM_IMAGE"]
c.DockerSpawner.prefix = os.environ["STORM_PREFIX"]  # so that only its own containers are removed afterwards
c.DockerSpawner.start_timeout = int(os.environ["STORM_PATIENCE"])
c.DockerSpawner.http_timeout = int(os.environ["STORM_PATIENCE"])
