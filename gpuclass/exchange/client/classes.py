"""nbgrader's exchange over HTTP: the plugin that runs in the containers, as ``nbgrader_config.py`` names it.

Who asks is known to the service by the server's token, never by anything here. Nothing on the student's side is
overwritten by a fetch, and nothing on the server is ever deleted.
"""

from gpuclass.exchange.client.plugin import Exchange
from gpuclass.exchange.client.studying import ExchangeFetchAssignment, ExchangeFetchFeedback, ExchangeList
from gpuclass.exchange.client.submit import ExchangeSubmit
from gpuclass.exchange.client.teaching import ExchangeCollect, ExchangeReleaseAssignment, ExchangeReleaseFeedback

__all__ = [
    "Exchange",
    "ExchangeCollect",
    "ExchangeFetchAssignment",
    "ExchangeFetchFeedback",
    "ExchangeList",
    "ExchangeReleaseAssignment",
    "ExchangeReleaseFeedback",
    "ExchangeSubmit",
]
