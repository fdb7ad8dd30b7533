"""nbgrader's plugin inside the containers, and what sends later what could not be sent at once.

``classes`` is what nbgrader's configuration names. Needs nothing but nbgrader and requests, and imports them late: the
user's server imports ``background`` and ``corner`` when it starts.
"""
