"""nbgrader in a user's container: the exchange is the class's service, reached over HTTP."""

import os
from pathlib import Path

c = get_config()  # noqa: F821 - given by nbgrader

exchange = "gpuclass.exchange.client.classes"
c.ExchangeFactory.exchange = f"{exchange}.Exchange"
c.ExchangeFactory.fetch_assignment = f"{exchange}.ExchangeFetchAssignment"
c.ExchangeFactory.fetch_feedback = f"{exchange}.ExchangeFetchFeedback"
c.ExchangeFactory.list = f"{exchange}.ExchangeList"
c.ExchangeFactory.submit = f"{exchange}.ExchangeSubmit"
c.ExchangeFactory.release_assignment = f"{exchange}.ExchangeReleaseAssignment"
c.ExchangeFactory.release_feedback = f"{exchange}.ExchangeReleaseFeedback"
c.ExchangeFactory.collect = f"{exchange}.ExchangeCollect"

c.CourseDirectory.course_id = os.environ.get("GPUCLASS_COURSE", "")
c.Exchange.timezone = os.environ.get("GPUCLASS_TIMEZONE", "UTC")
if os.environ.get("GPUCLASS_ROLE") == "instructor":
    # What students wrote is shown to a teacher, and feedback to students: as in grading/nbgrader_config.py.
    c.HTMLExporter.filters = {"markdown2html": "gpuclass.grader.markup.markdown_filter"}
    c.GenerateFeedback.exporter_class = "gpuclass.grader.feedback.FeedbackExporter"
    c.GenerateFeedback.preprocessors = ["gpuclass.grader.feedback.GetGrades"]
    c.FeedbackExporter.language = os.environ.get("GPUCLASS_LANGUAGE", "ko")
    c.CourseDirectory.root = str(Path.home() / "course")  # leads to /srv/course; must lie below the server's root
