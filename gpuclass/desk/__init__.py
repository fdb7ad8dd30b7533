"""The class desk: what people in the class do live, on pages beside Lab. A service of the hub with its own process.

A request's way: ``session`` and ``context`` say who asks and what they may, a page's own module reads and acts,
``pages`` renders it in the reader's language; what was done to somebody else stands in ``audit``. The desk keeps little
itself (``schema``): servers and seats are the hub's, submissions and scores the exchange's.
"""
