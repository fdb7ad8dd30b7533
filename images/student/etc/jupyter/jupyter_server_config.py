"""The user's server. Extensions stand in jupyter_server_config.d; what a role sees in Lab, under roles/."""

import os

c = get_config()  # noqa: F821 - given by Jupyter

c.ServerApp.ip = "0.0.0.0"  # noqa: S104 - inside the container; the class network decides who reaches it
c.ServerApp.port = 8888
c.ServerApp.open_browser = False

# Lab's defaults: overrides.json in the folder of the class's language.
language = os.environ.get("GPUCLASS_LANGUAGE", "ko")
c.LabApp.app_settings_dir = f"/etc/jupyter/languages/{language}"

# Classes have no internet by default, and the image is read-only: nothing to look up, nothing to install.
c.LabApp.extension_manager = "readonly"
c.LabApp.news_url = None

c.ServerApp.kernel_spec_manager_class = "gpuclass.lab.KernelSpecs"

# Lab shows Formgrader in a frame, which JupyterHub forbids (nbgrader#1870). Where each user has a domain of their own,
# and only there has the hub a host, a page of the same origin is theirs. On a shared domain it could be a student's, so
# there it stays forbidden and Formgrader is opened at /formgrader.
if os.environ.get("GPUCLASS_ROLE") == "instructor" and os.environ.get("JUPYTERHUB_HOST"):
    c.ServerApp.tornado_settings = {"headers": {"Content-Security-Policy": "frame-ancestors 'self'"}}
