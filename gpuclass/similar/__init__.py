"""Which submissions share more than the assignment explains: a hint where to look, never a verdict.

`reading` takes answers out of the exchange, `code` makes tokens of them, `pairs` compares, `page` shows passages side
by side. A student's code is read as text and never run.
"""
