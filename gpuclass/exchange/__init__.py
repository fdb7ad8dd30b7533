"""The exchange: assignments go out, submissions come in, feedback goes back, over HTTP.

``service`` answers, ``store`` keeps, ``client`` is the nbgrader plugin inside the containers. The client's side
(``client``, ``connection``, ``folder``, ``names``, ``wire``, ``messages``) needs nothing but nbgrader and requests.
"""
