"""JupyterHub reads this file: settings in, configuration out."""
