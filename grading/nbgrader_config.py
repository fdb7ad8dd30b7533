"""nbgrader as the grading service runs it: student code in a sandbox, points decided outside, pages without scripts.

The service sets what differs per job: folders, limits, language. In a course folder, `nbgrader autograde --config` and
this file grade in the same way, with the class's settings.
"""

c = get_config()  # noqa: F821  # given by nbgrader

c.Autograde.autograde_preprocessors = [
    "gpuclass.grader.execute.SandboxedExecute",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.GenerateFeedback.exporter_class = "gpuclass.grader.feedback.FeedbackExporter"
c.GenerateFeedback.preprocessors = ["gpuclass.grader.feedback.GetGrades"]

# Formgrader shows students' Markdown to a teacher.
c.HTMLExporter.filters = {"markdown2html": "gpuclass.grader.markup.markdown_filter"}
