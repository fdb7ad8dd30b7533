# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 환경 점검 / Warm-up
#
# ⏱ 20분
#
# 이 시간이 끝나면
#
# - 노트북의 셀을 실행하고, 고치고, 멈출 수 있어요.
# - 내가 앉은 자리가 **GPU 자리**인지 **CPU 자리**인지 말할 수 있어요.
# - 과제를 받아서 풀고, 확인하고, 제출할 수 있어요.

# %% [markdown]
# 아래 접힌 셀은 준비 셀이에요. 셀을 클릭하고 **Shift + Enter**를 한 번 눌러 주세요.
# 속이 궁금하면 셀 왼쪽의 점 세 개(**⋯**)를 눌러 펼쳐 보아도 좋아요. 지금 이해하지 못해도 괜찮아요.

# %% jupyter={"source_hidden": true} tags=["setup"]
import os
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.patches import FancyBboxPatch

FAST = os.environ.get("GPUCLASS_FAST") == "1"  # 자동 점검용이에요. 수업에서는 쓰지 않아요.


def read_number(*paths):
    """처음으로 읽히는 파일의 첫 숫자. 하나도 없으면 None이에요."""
    for path in paths:
        try:
            return int(Path(path).read_text().split()[0])
        except (OSError, ValueError, IndexError):
            continue
    return None


def cpu_cores():
    """내 자리에 주어진 CPU 코어 수."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        quota = read_number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
        period = read_number("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    if quota in (None, "max", -1) or not period:
        return len(os.sched_getaffinity(0))
    return int(quota) / int(period)


def memory_gib():
    """내 자리에 주어진 메모리(GiB)."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = read_number("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
    return min(machine, limit or machine) / 2**30


def my_seat():
    """내 자리를 설명하는 줄들."""
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        kind = "GPU 자리"
        lines = [
            ("GPU", gpu.name),
            ("GPU 메모리", f"{gpu.total_memory / 2**30:.1f} GiB"),
            ("계산 묶음(SM)", f"{gpu.multi_processor_count}개"),
        ]
    else:
        kind = "CPU 자리"
        lines = [("GPU", "없음 — 이 수업은 CPU로도 할 수 있어요")]
    lines += [
        ("CPU 코어", f"{cpu_cores():g}개"),
        ("메모리", f"{memory_gib():.1f} GiB"),
        ("PyTorch", torch.__version__),
    ]
    return kind, lines


def draw_card():
    """내 자리를 카드 한 장으로 그려요."""
    kind, lines = my_seat()
    colour = "#2e7d32" if kind.startswith("GPU") else "#1565c0"
    figure, axes = plt.subplots(figsize=(7, 0.5 * len(lines) + 1.2))
    axes.set(xlim=(0, 10), ylim=(0, len(lines) + 2))
    axes.axis("off")
    box = {"boxstyle": "round,pad=0.1,rounding_size=0.3", "linewidth": 2, "edgecolor": colour}
    axes.add_patch(FancyBboxPatch((0.3, 0.3), 9.4, len(lines) + 1.3, facecolor="white", **box))
    axes.add_patch(FancyBboxPatch((0.3, len(lines) + 0.7), 9.4, 0.9, facecolor=colour, **box))
    axes.text(0.7, len(lines) + 1.15, f"내 자리: {kind}", color="white", fontsize=15, va="center")
    for row, (name, value) in enumerate(lines):
        height = len(lines) - row - 0.15
        axes.text(0.7, height, name, color="#555555", fontsize=11, va="center")
        axes.text(3.3, height, value, fontsize=11, va="center")
    plt.show()


# %% [markdown]
# ## 1. 셀을 실행해 봐요 (4분)
#
# 노트북은 **셀**(cell)이라는 칸으로 나뉘어 있어요. 지금 읽는 칸은 글이고, 회색 칸은 코드예요.
#
# | 하고 싶은 것 | 누를 것 |
# | --- | --- |
# | 셀을 실행하고 다음 셀로 | **Shift + Enter** |
# | 셀을 고치기 | 셀을 클릭 |
# | 저장 | **Ctrl + S** (맥은 ⌘ + S) |
#
# 코드 셀 왼쪽의 대괄호를 보세요. `[ ]`는 아직, `[*]`는 실행하는 중, `[3]`은 세 번째로 실행했다는 뜻이에요.

# %%
name = "하늘"  # 여러분의 이름으로 바꾸고 다시 실행해 보세요
print(f"{name} 님, 딥러닝 캠프에 온 걸 환영해요!")

# %% [markdown]
# 셀들은 **기억을 함께 써요.** 위 셀에서 만든 `name`을 아래 셀에서도 쓸 수 있어요.
# 그래서 셀의 위치보다 **실행한 순서**가 중요해요.

# %%
letters = len(name)
print(f"{name}: {letters}글자")

# %% [markdown]
# **생각해 보기.** 맨 위 셀의 `name`만 고치고 실행하지 않은 채 아래 셀을 실행하면 누구의 이름이 나올까요?
# 예상을 먼저 말하고, 해 보세요.

# %% [markdown]
# ### 오류는 친구예요
#
# 다음 셀은 **일부러** 오류를 내요. 빨간 글이 나오면 놀라지 말고 **맨 아랫줄부터** 읽어요.
# 맨 아랫줄이 무슨 일이 났는지, 화살표(`---->`)가 어느 줄인지 알려 줘요.

# %% tags=["raises-exception"]
print("GPU 개수: " + 3)

# %% [markdown]
# 글자와 숫자를 `+`로 이을 수 없다는 뜻이에요. `3`을 `str(3)`으로 바꾸고 다시 실행해 보세요. 이제 되지요?
#
# 셀이 끝나지 않을 때는 위쪽의 **■**(멈춤)를 누르고, 모든 것이 이상할 때는 **↻**(커널 다시 시작)를 눌러요.
# 다시 시작하면 변수는 사라지지만 **적어 둔 코드는 그대로** 남아 있어요. 망가뜨릴 걱정 없이 눌러 보세요.

# %% [markdown]
# ## 2. 내 자리를 확인해 봐요 (6분)
#
# **CPU**는 어려운 일을 하나씩 척척 하는 요리사 몇 명이에요. **GPU**는 쉬운 일을 한꺼번에 하는 수천 개의 손이에요.
# 딥러닝은 곱하기와 더하기를 어마어마하게 많이 하는 일이라 GPU가 잘 맞아요.
#
# 여러분의 코드는 지금 이 노트북 컴퓨터가 아니라 **대학교 서버의 내 자리**에서 돌고 있어요. 그 자리의 카드를 그려 볼까요?

# %%
draw_card()

# %% [markdown]
# 앞으로 모든 시간에 아래 한 줄을 만나요. GPU가 있으면 `"cuda"`, 없으면 `"cpu"`를 골라 줘요.
# 그래서 같은 노트북이 GPU 자리에서도 CPU 자리에서도 돌아가요.

# %%
device = "cuda" if torch.cuda.is_available() else "cpu"
device

# %% [markdown]
# 이제 진짜로 일을 시켜 봐요. 가로세로 `n`칸짜리 숫자 표 두 개를 곱하면 곱하기를 약 `n × n × n`번 해야 해요.

# %%
n = 300 if FAST else 1500  # 1000, 2000, 3000 …으로 바꿔 보세요

table = torch.ones(n, n, device=device)
start = time.perf_counter()
corner = (table @ table)[0, 0].item()
seconds = time.perf_counter() - start

print(f"곱하기 약 {n**3 / 1e8:,.1f}억 번을 {seconds:.3f}초에 했어요 ({device})")
print(f"왼쪽 위 칸의 값: {corner:,.0f}")

# %% [markdown]
# **생각해 보기**
#
# - `n`을 두 배로 하면 곱하기는 몇 배가 될까요? 걸린 시간도 꼭 그만큼 늘었나요?
# - 같은 셀을 세 번 실행해 보세요. 처음과 나중의 시간이 왜 다를까요? (04 시간에 이 수수께끼를 풀어요.)
# - 왼쪽 위 칸의 값은 왜 `n`과 같을까요?

# %% [markdown]
# ## 3. 과제를 받고 제출해 봐요 (8분)
#
# 시간마다 짧은 과제가 있어요. 연습으로 **1점**짜리 과제를 제출해 봐요.
#
# 1. 맨 위 메뉴에서 **Nbgrader → Assignment List**를 눌러요. **Assignments** 탭이 열려요.
# 2. **Released assignments**에서 `00-warm-up` 옆의 **Fetch**를 눌러 과제를 받아요.
# 3. **Downloaded assignments**로 내려온 `00-warm-up`을 펼치고 `exercise-00`을 눌러 열어요.
# 4. 과제를 풀고 **Ctrl + S**로 저장해요.
# 5. **Assignments** 탭으로 돌아와 **Validate**를 눌러요. 보이는 검사를 미리 해 보는 거예요.
# 6. **Submit**을 눌러요. **Submitted assignments**에 시각이 찍히면 서버에 안전하게 도착한 거예요.
# 7. 잠시 뒤 **Submitted assignments**에서 **Fetch Feedback**을 누르면 점수와 설명을 볼 수 있어요.
#
# 몇 가지 약속이에요.
#
# - 몇 번이든 다시 제출할 수 있어요. 점수는 **마지막 제출**로 매겨요.
# - `# YOUR CODE HERE`와 `raise NotImplementedError()`를 지우고 그 자리에 코드를 써요. 다른 셀은 지우거나 옮기지 마세요.
# - 채점할 때는 보이는 검사 말고도 **숨은 검사**를 더 해요. 예로 나온 값만 맞추지 말고, 어떤 값에도 맞게 풀어 주세요.
# - 막히면 5분만 혼자 해 보고, 그다음엔 멘토에게 물어봐요.
#
# **지금 `00-warm-up` 과제를 제출하고 돌아오세요.**

# %% [markdown]
# ## 4. `notebooks` 폴더의 규칙 (2분)
#
# 수업 노트북은 서버를 켤 때마다 `notebooks` 폴더로 배달돼요.
#
# - **내가 고친 셀은 그대로 남아요.** 선생님이 노트북을 새로 고쳐도 내 것이 이겨요.
# - **지운 파일은 다시 와요.** 처음부터 하고 싶으면 그 파일의 이름을 바꾸거나 지우면 돼요.
# - 아껴 두고 싶은 코드는 새 노트북을 만들어 적어 두세요. 새로 만든 파일은 아무도 건드리지 않아요.

# %% [markdown]
# ## 기억할 것
#
# - **Shift + Enter**로 실행해요. 셀의 위치보다 **실행한 순서**가 중요해요.
# - 오류는 **맨 아랫줄부터** 읽어요.
# - `device = "cuda" if torch.cuda.is_available() else "cpu"` — 같은 코드가 어느 자리에서나 돌아가요.
# - 과제는 **Fetch → 풀기 → 저장 → Validate → Submit**. 마지막 제출이 점수예요.
#
# 다음 시간에는 한글 글자 그림을 숫자로 바꿔 봐요: **01 픽셀에서 텐서로**.
