"""Grading: a submission is sanitised, run in a throwaway container, judged, and comes back as feedback.

The way to read: sanitise → sandbox (wire, and grading/agent.py inside) → execute → feedback; `course` runs nbgrader
around them, `child` in a process of its own; `grade` and `worker` are the two ways in.
"""
