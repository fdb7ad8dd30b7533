"""The exchange: assignments go out, submissions come in, feedback goes back, over HTTP.

``service`` answers, ``store`` keeps, ``client`` is the nbgrader plugin inside the containers. The client's side needs
nothing but nbgrader and requests: ``client``, ``plugin``, ``studying``, ``teaching``, ``connection``, ``folder``, and
``names``, ``wire`` and ``messages``, which both sides share.
"""
