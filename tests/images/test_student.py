"""What runs inside the student's image, and the grader's that is built on it."""

import json

import pytest

from tests.images.conftest import Run

pytestmark = pytest.mark.images


@pytest.fixture(params=["student", "grader"])
def image(request: pytest.FixtureRequest, built: dict[str, str]) -> str:
    return built[request.param]


def test_every_module_is_compiled(image: str, python: Run) -> None:
    missing = python(
        image,
        """
        from importlib.util import cache_from_source
        from pathlib import Path

        for folder in "/opt/venv/lib/python3.13/site-packages", "/opt/gpuclass/lib":
            sources = list(Path(folder).rglob("*.py"))
            assert sources, folder
            # Templates that are no Python on their own cannot be compiled.
            print(*(path for path in sources if not Path(cache_from_source(path)).exists()), sep="\\n")
        """,
    )
    assert [line for line in missing.split() if "/template" not in line and "cookiecutter" not in line] == []


def test_compiled_modules_are_not_checked_against_their_sources(image: str, python: Run) -> None:
    flags = python(
        image,
        """
        import importlib.util, jupyter_server, nbgrader, gpuclass

        for module in jupyter_server, nbgrader, gpuclass:
            with open(importlib.util.cache_from_source(module.__file__), "rb") as compiled:
                print(int.from_bytes(compiled.read(8)[4:], "little"))
        """,
    )
    assert flags.split() == ["1", "1", "1"], "PEP 552: bit 0 is hash-based, bit 1 is checked"


def test_packages_have_what_they_need(image: str, python: Run) -> None:
    missing = python(
        image,
        """
        import importlib.metadata as metadata
        from packaging.requirements import Requirement

        installed = {found.name.lower().replace("_", "-").replace(".", "-"): found.version
                     for found in metadata.distributions()}
        for found in metadata.distributions():
            for text in found.requires or ():
                need = Requirement(text)
                name = need.name.lower().replace("_", "-").replace(".", "-")
                if need.marker and not need.marker.evaluate({"extra": ""}):
                    continue
                if name not in installed or not need.specifier.contains(installed[name], prereleases=True):
                    print(found.name, "needs", need)
        """,
    )
    assert missing == ""


def test_torch_computes_and_carries_cuda(image: str, python: Run) -> None:
    said = python(
        image,
        """
        import torch, torchvision
        layer = torch.nn.Conv2d(1, 2, 3)
        boxes = torchvision.ops.nms(torch.tensor([[0., 0., 1., 1.]]), torch.tensor([1.]), 0.5)
        print(tuple(layer(torch.zeros(1, 1, 5, 5)).shape), boxes.tolist(), torch.version.cuda.split(".")[0])
        """,
    )
    assert said == "(1, 2, 3, 3) [0] 13\n"


def test_hangul_is_drawn_without_a_warning_and_without_searching_fonts(image: str, python: Run) -> None:
    said = python(
        image,
        """
        import time
        import matplotlib
        matplotlib.use("agg")
        import matplotlib.font_manager
        matplotlib.font_manager._load_fontmanager = None  # the font list is there already
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots()
        axes.set_title("가나다 학습률 −1.5")
        axes.plot([-1, 0, 1], [-1, 0, 1], label="손실")
        axes.legend()
        figure.savefig("/tmp/figure.png")
        font = matplotlib.font_manager.findfont(axes.title.get_fontproperties())
        print(font.rsplit("/", 1)[1], matplotlib.get_cachedir())
        """,
    )
    assert said == "NanumGothic.ttf /tmp/matplotlib\n"


def test_everyday_packages_of_a_notebook_load(image: str, python: Run) -> None:
    python(image, "import numpy, pandas, sklearn.linear_model, ipywidgets")


@pytest.mark.parametrize(("role", "root"), [("student", ""), ("mentor", ""), ("instructor", "/home/jovyan/course")])
def test_nbgrader_speaks_to_the_exchange_of_the_class(role: str, root: str, built: dict[str, str], python: Run) -> None:
    said = python(
        built["student"],
        """
        import json
        from nbgrader.apps import NbGrader
        from nbgrader.coursedir import CourseDirectory
        from nbgrader.exchange import ExchangeFactory

        app = NbGrader()
        app.load_config_file()
        course = CourseDirectory(config=app.config)
        factory = ExchangeFactory(config=app.config)
        print(json.dumps({
            "course": course.course_id,
            "root": app.config.CourseDirectory.get("root", ""),
            "timezone": app.config.Exchange.timezone,
            "modules": [getattr(factory, name).__module__ for name in factory.trait_names(config=True)],
        }))
        """,
        environment={"GPUCLASS_COURSE": "camp", "GPUCLASS_TIMEZONE": "Asia/Seoul", "GPUCLASS_ROLE": role},
    )
    answer = json.loads(said.splitlines()[-1])
    assert {module.rpartition(".")[0] for module in answer.pop("modules")} == {"gpuclass.exchange.client"}
    assert answer == {"course": "camp", "root": root, "timezone": "Asia/Seoul"}
