"""Every kernel of a class: seat() and what errors about memory mean."""

c = get_config()  # noqa: F821 - given by IPython

c.InteractiveShellApp.extensions = ["gpuclass.kernel"]
