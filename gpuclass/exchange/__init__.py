"""The exchange: assignments go out, submissions come in, feedback goes back, over HTTP.

``service`` answers, ``store`` keeps, ``client`` is the nbgrader plugin inside the containers. The client's side needs
nothing but nbgrader and requests: ``client`` names the plugin's classes (``studying``, ``submit``, ``teaching`` on
``plugin``); ``outbox`` and ``versions`` remember in a home, ``sender`` and ``background`` send what waits, on
``connection``, ``upload``, ``folder`` and ``corner``. ``names``, ``wire``, ``receipts`` and ``messages`` are shared.
"""
