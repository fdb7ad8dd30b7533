"""Stock nbgrader, with all its doors open: its own autograding of hostile submissions, in a container.

One submission after another: a single one of some kinds stops `nbgrader autograde` for everybody who comes after it.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

PROGRAM = """
import base64, json, os, pathlib, subprocess, sys
sent = json.load(sys.stdin)
os.makedirs('/tmp/course')
os.chdir('/tmp/course')
for path, content in sent.items():
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(path).write_bytes(base64.b64decode(content))
from nbgrader.apps import NbGraderAPI
from traitlets.config import Config, PyFileConfigLoader
config = Config({'CourseDirectory': {'course_id': 'camp', 'root': os.getcwd()}})
config.merge(PyFileConfigLoader('nbgrader_config.py', os.getcwd()).load_config())
api = NbGraderAPI(config=config)
print(api.generate_assignment('ps1')['log'], file=sys.stderr)
refused = {}
for student in sorted(os.listdir('submitted')):
    done = api.autograde('ps1', student)
    if not done['success']:
        refused[student] = done['log'][-1000:]
from nbgrader.api import Gradebook
with Gradebook('sqlite:///gradebook.db') as gradebook:
    submissions = gradebook.find_assignment('ps1').submissions
    scores = {s.student.id: s.score for s in submissions}
    cells = {s.student.id: {g.name: g.score for n in s.notebooks for g in n.grades} for s in submissions}
made = {str(path): path.read_text(errors='replace') for path in pathlib.Path().glob('**/*')
        if path.suffix in ('.html', '.ipynb') and path.parts[0] in ('autograded', 'feedback')}
print(json.dumps({'scores': scores, 'cells': cells, 'refused': refused, 'made': made}))
"""
CONFIGURATION = b"c = get_config()\nc.Autograde.timeout = 20\nc.ExecutePreprocessor.timeout = 20\n"


@dataclass(frozen=True)
class Outcome:
    """Scores by student and by cell; what was said of those not graded; pages and notebooks by path, as text."""

    scores: dict[str, float]
    cells: dict[str, dict[str, float]]
    refused: dict[str, str]
    made: dict[str, str]


def autograded(image: str, source: bytes, submissions: Mapping[str, Mapping[str, bytes]]) -> Outcome:
    """Autograde ``submissions`` (files by student) to the assignment ``ps1``."""
    files = {"source/ps1/ps1.ipynb": source, "nbgrader_config.py": CONFIGURATION}
    for student, folder in submissions.items():
        files |= {f"submitted/{student}/ps1/{path}": data for path, data in folder.items()}
    sent = {path: base64.b64encode(data).decode() for path, data in files.items()}
    command = ["docker", "run", "-i", "--rm", "--network=none", "--memory=4g", image, "python", "-c", PROGRAM]
    ran = subprocess.run(command, input=json.dumps(sent), capture_output=True, text=True, check=False, timeout=900)
    assert ran.returncode == 0, ran.stderr
    return Outcome(**json.loads(ran.stdout.splitlines()[-1]))
