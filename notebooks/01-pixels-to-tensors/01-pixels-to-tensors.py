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
# # 01 픽셀에서 텐서로 / Pixels to tensors
#
# ⏱ 50분
#
# 이 시간이 끝나면
#
# - 그림을 숫자로 바꾼 **텐서**(tensor)의 `shape`과 `dtype`을 읽고 바꿀 수 있어요.
# - 그림 여러 장을 **묶음**(batch) 하나로 다룰 수 있어요.
# - 텐서를 GPU로 보내고, 텐서 계산만으로 글자를 알아맞히는 프로그램을 만들 수 있어요.

# %% [markdown]
# 아래 접힌 셀은 준비 셀이에요. 클릭하고 **Shift + Enter**를 눌러 주세요. 글꼴로 글자 그림을 그리는 코드가 들어 있어요.

# %% jupyter={"source_hidden": true} tags=["setup"]
import os
from functools import cache
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

FAST = os.environ.get("GPUCLASS_FAST") == "1"  # 자동 점검용이에요. 수업에서는 쓰지 않아요.
SYLLABLES = "가나다라마바사아자차카타파하"
FONTS = sorted(Path("/usr/share/fonts/truetype/nanum").glob("*.ttf"))
READY_MADE = Path(os.environ.get("GPUCLASS_DATASETS", "/srv/datasets")) / "hangul" / "glyphs.npz"


load_face = cache(ImageFont.truetype)


def draw_syllable(letter, font=FONTS[0], size=32, angle=0.0, shift=(0, 0)):
    """글자 하나를 검은 바탕에 흰색으로 그린 텐서: shape (size, size), dtype uint8."""
    big = 4 * size  # 크게 그려서 줄이면 가장자리가 부드러워요
    canvas = Image.new("L", (big, big), 0)
    pen = ImageDraw.Draw(canvas)
    face = load_face(str(font), int(big * 0.8))
    left, top, right, bottom = pen.textbbox((0, 0), letter, font=face)
    corner = ((big - right - left) / 2 + 4 * shift[0], (big - bottom - top) / 2 + 4 * shift[1])
    pen.text(corner, letter, fill=255, font=face)
    small = canvas.rotate(angle, Image.Resampling.BILINEAR).resize((size, size), Image.Resampling.BOX)
    return torch.from_numpy(np.array(small))


def draw_glyphs(copies, seed=0):
    """글꼴마다 글자마다 copies장씩, 조금씩 비틀어 그려요: 그림, 이름표, 글꼴 번호."""
    random = np.random.default_rng(seed)
    images, labels, fonts = [], [], []
    for number, font in enumerate(FONTS):
        for label, letter in enumerate(SYLLABLES):
            for copy in range(copies):
                angle, *shift = (0, 0, 0) if copy == 0 else random.uniform((-8, -2, -2), (8, 2, 2))
                images.append(draw_syllable(letter, font, angle=angle, shift=shift))
                labels.append(label)
                fonts.append(number)
    return torch.stack(images), torch.tensor(labels), torch.tensor(fonts)


def load_glyphs():
    """나눠 준 데이터가 있으면 그것을, 없으면 지금 그려서 써요."""
    if READY_MADE.exists():
        with np.load(READY_MADE, allow_pickle=False) as data:
            return tuple(torch.from_numpy(data[name]) for name in ("images", "labels", "fonts"))
    return draw_glyphs(copies=2 if FAST else 10)


def show(*pictures, titles=None, columns=None, size=1.6):
    """그림들을 나란히 보여 줘요."""
    columns = columns or min(len(pictures), 7)
    rows = -(-len(pictures) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(size * columns, size * rows * 1.15), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for index, (axes, picture) in enumerate(zip(grid.flat, pictures)):
        axes.imshow(picture.cpu(), cmap="gray", vmin=0, vmax=255 if picture.dtype == torch.uint8 else 1)
        if titles:
            axes.set_title(titles[index], fontsize=11)
    figure.tight_layout()
    plt.show()


def show_wall(pictures, columns=14):
    """많은 그림을 타일처럼 붙여 한 장으로 보여 줘요."""
    rows = len(pictures) // columns
    height, width = pictures.shape[1:]
    wall = pictures[: rows * columns].reshape(rows, columns, height, width).permute(0, 2, 1, 3)
    plt.figure(figsize=(0.7 * columns, 0.7 * rows))
    plt.imshow(wall.reshape(rows * height, columns * width), cmap="gray")
    plt.axis("off")
    plt.show()


def show_numbers(picture):
    """왼쪽에는 그림, 오른쪽에는 그 그림의 숫자를 보여 줘요."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 6))
    for axes in (left, right):
        axes.axis("off")
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, alpha=1 if axes is left else 0.35)
    for row in range(picture.shape[0]):
        for column in range(picture.shape[1]):
            right.text(column, row, int(picture[row, column]), ha="center", va="center", fontsize=7)
    left.set_title("사람이 보는 것")
    right.set_title("컴퓨터가 보는 것")
    figure.tight_layout()
    plt.show()


# %% [markdown]
# ## 1. 그림은 숫자 표예요 (7분)
#
# 컴퓨터에게 흑백 그림은 **숫자 표**예요. 한 칸이 픽셀 하나이고, `0`은 검정, `255`는 하양, 그 사이는 회색이에요.
# 글자 하나를 작게 그려서 들여다볼까요?

# %%
letter = "가"  # 여러분 이름의 첫 글자로 바꿔 보세요

small = draw_syllable(letter, size=16)
show_numbers(small)

# %% [markdown]
# **생각해 보기.** 글자의 가장자리에는 왜 `255`도 `0`도 아닌 숫자가 있을까요? 그 숫자들을 모두 `0`으로 바꾸면 어떻게 보일까요?

# %% [markdown]
# ## 2. 텐서: `shape`과 `dtype` (8분)
#
# 숫자를 줄 맞춰 늘어놓은 것을 **텐서**(tensor)라고 해요. 늘어놓은 방향의 수를 **차원**이라고 하고요.
#
# | 차원 | 예 | `shape` |
# | --- | --- | --- |
# | 0 | 숫자 하나 | `()` |
# | 1 | 한 줄로 선 점수 30개 | `(30,)` |
# | 2 | 흑백 그림 한 장 | `(세로, 가로)` |
# | 3 | 흑백 그림 여러 장 | `(장수, 세로, 가로)` |
#
# 텐서를 만나면 먼저 두 가지를 물어봐요. **모양**(`shape`)이 뭐지? 숫자의 **자료형**(`dtype`)이 뭐지?

# %%
glyph = draw_syllable("한")

print("모양  :", tuple(glyph.shape))
print("자료형:", glyph.dtype)
print("10번째 줄, 16번째 칸의 값:", glyph[10, 16].item())
print("10번째 줄의 모양:", tuple(glyph[10].shape))  # glyph[:, 16]이면 무엇이 될까요?

# %% [markdown]
# `torch.uint8`은 **0부터 255까지의 정수**만 담는 작은 상자예요. 넘치면 자동차 주행계처럼 0부터 다시 시작해요.
# 그림을 밝게 하려고 모든 픽셀에 100을 더해 볼게요. 아래에서 어느 쪽이 우리가 바란 그림일까요?

# %%
more = 100  # 50, 200으로도 바꿔 보세요

overflowed = glyph + more
brighter = (glyph.float() + more).clamp(0, 255) / 255

show(glyph, overflowed, brighter, titles=["처음 그림", f"uint8에 + {more}", f"float로 바꾸고 + {more}"], size=2.2)
print("255 +", more, "=", (torch.tensor(255, dtype=torch.uint8) + more).item())

# %% [markdown]
# 그래서 딥러닝에서는 그림을 **소수**(`torch.float32`)로 바꾸고, 값도 다루기 쉽게 **0과 1 사이**로 줄여요.
# 이것을 **정규화**(normalisation)라고 해요. 가장 어두운 0은 `0.0`, 가장 밝은 255는 `1.0`이 되면 돼요.
#
# **생각해 보기**
#
# - `glyph / 2`의 `dtype`은 무엇일까요? `glyph // 2`는요? 새 셀을 만들어 확인해 보세요.
# - 왜 "이 그림에서 가장 큰 값"이 아니라 언제나 같은 수로 나누는 것이 좋을까요? (어두운 그림을 떠올려 보세요.)

# %% [markdown]
# ## 3. 묶음으로 한꺼번에 (9분)
#
# GPU의 수천 개 손은 일을 **한꺼번에** 줘야 빨라요. 그래서 그림을 한 장씩 주지 않고 **묶음**(batch)으로 줘요.
# 열네 글자를 여러 글꼴로 그린 묶음을 만들어 볼게요.

# %%
images, labels, fonts = load_glyphs()

print("그림  :", tuple(images.shape), images.dtype)
print("이름표:", tuple(labels.shape), labels.dtype)

# %%
copies = int(((fonts == 0) & (labels == 0)).sum())  # 글꼴 하나에 같은 글자가 몇 장인지
show_wall(images[::copies])

# %% [markdown]
# 한 줄이 글꼴 하나, 한 칸이 글자 하나예요. 맨 앞 차원(0번)이 **몇 번째 그림인지**를 나타내요.
#
# | 쓰는 법 | 뜻 | 모양 |
# | --- | --- | --- |
# | `images[0]` | 첫 번째 그림 | `(32, 32)` |
# | `images[:5]` | 앞의 다섯 장 | `(5, 32, 32)` |
# | `images[labels == 3]` | 이름표가 3(`라`)인 그림 모두 | `(몇 장, 32, 32)` |
#
# 글자마다 **평균 그림**을 만들어 볼까요? `mean(dim=0)`은 0번 차원을 따라 평균을 내서 그 차원을 없애요.

# %%
x = images.float() / 255
averages = torch.stack([x[labels == label].mean(dim=0) for label in range(14)])

print("평균 그림의 모양:", tuple(averages.shape))
show(*averages, titles=SYLLABLES, columns=7, size=1.2)

# %% [markdown]
# 실행하기 전에 **모양을 먼저 말해 보세요.** 짝과 답이 다르면 왜 다른지 이야기해 보세요. 그다음 실행해요.

# %%
print("x                ", tuple(x.shape))
print("x.mean(dim=0)    ", tuple(x.mean(dim=0).shape))
print("x.mean(dim=(1,2))", tuple(x.mean(dim=(1, 2)).shape))
print("x[:, None]       ", tuple(x[:, None].shape))

# %% [markdown]
# 마지막 줄의 `None`은 길이 1인 차원을 하나 끼워 넣어요. 컬러 그림은 빨강·초록·파랑 세 장이 겹쳐 있어서, PyTorch는
# 그림 묶음을 언제나 `(장수, 색, 세로, 가로)`로 받아요. 흑백은 색이 하나니까 `(N, 1, 32, 32)`가 돼요.

# %% [markdown]
# ## 4. 모양이 다른 텐서끼리 계산하기 (6분)
#
# 세로로 선 아홉 숫자 `(9, 1)`과 가로로 누운 아홉 숫자 `(9,)`를 곱하면 어떻게 될까요?
# PyTorch는 길이가 1인 쪽을 **늘려서 맞춰요.** 이것을 **브로드캐스팅**(broadcasting)이라고 해요.

# %%
nine = torch.arange(1, 10)

table = nine[:, None] * nine  # *를 +로, ==로 바꿔 보세요
table

# %% [markdown]
# 반복문 없이 구구단이 나왔어요! `==`로 바꾸면 무엇이 나오나요? 대각선만 `True`가 되지요.
#
# 이 생각은 **이름표**에 꼭 필요해요. 우리 이름표는 `가`=0, `나`=1, …, `하`=13인 번호예요. 그런데 번호는
# "`하`가 `나`보다 13배 크다"는 오해를 줘요. 그래서 **자기 번호의 칸만 1이고 나머지는 0인 줄**로 바꿔요.
# 이것을 **원-핫**(one-hot)이라고 해요. 아래 그림에서 한 줄이 이름표 하나예요.

# %% jupyter={"source_hidden": true} tags=["setup"]
word = [SYLLABLES.index(letter) for letter in "나라가자하나"]
figure, axes = plt.subplots(figsize=(7, 3.2))
axes.imshow(torch.eye(14)[word], cmap="Blues", vmin=0, vmax=1.4)
axes.set_xticks(range(14), [f"{number}\n{letter}" for number, letter in enumerate(SYLLABLES)])
axes.set_yticks(range(len(word)), [f"{SYLLABLES[label]} = {label}" for label in word])
axes.set_title("이름표 여섯 개의 원-핫")
for row, label in enumerate(word):
    for column in range(14):
        axes.text(column, row, int(label == column), ha="center", va="center", fontsize=9)
plt.show()

# %% [markdown]
# **생각해 보기.** 이 표의 각 줄을 모두 더하면 얼마일까요? 각 **칸**(열)을 더하면 무엇을 세는 걸까요?

# %% [markdown]
# ## 5. 계산만으로 글자 맞히기 (8분)
#
# 이제 배운 것만으로 글자를 알아맞혀 봐요. 생각은 간단해요. **모르는 그림과 가장 닮은 평균 그림을 고른다.**
#
# 닮은 정도는 픽셀의 차이를 제곱해서 모두 더해 재요. 작을수록 닮은 거예요. 먼저 텐서를 내 자리의 장치로 보내요.

# %%
device = "cuda" if torch.cuda.is_available() else "cpu"

known = fonts < 8  # 이 글꼴들로 평균을 내고
x, y = x.to(device), labels.to(device)
known = known.to(device)

averages = torch.stack([x[known & (y == label)].mean(dim=0) for label in range(14)])
print("그림은", x.device, "에 있어요. 평균 그림:", tuple(averages.shape))

# %% [markdown]
# `.to(device)`는 텐서를 **옮긴 사본**을 돌려줘요. 그래서 `x = x.to(device)`처럼 다시 받아야 해요.
# 서로 다른 장치에 있는 텐서끼리는 계산할 수 없어요. GPU 자리에서 가장 자주 만나는 오류이니 기억해 두세요.
#
# 이제 모든 그림과 모든 평균의 차이를 **한 줄로** 구해요. 구구단을 만든 그 방법이에요.

# %%
difference = x[:, None] - averages  # (N, 1, 32, 32) - (14, 32, 32) → (N, 14, 32, 32)
distance = (difference**2).sum(dim=(2, 3))  # 그림마다 평균 14개까지의 거리
guess = distance.argmin(dim=1)  # 가장 가까운 평균의 번호

correct = (guess == y).float()
print(f"본 글꼴    : {correct[known].mean().item():.0%} 맞힘")
print(f"못 본 글꼴 : {correct[~known].mean().item():.0%} 맞힘")

# %% [markdown]
# 찍으면 14번에 한 번(약 7%)인데, 더하고 빼기만 했는데도 꽤 맞혀요. 틀린 그림을 볼까요?

# %%
wrong = (guess != y).nonzero().flatten()
wrong = wrong[:: max(1, len(wrong) // 14)][:14]  # 골고루 열네 장
titles = [f"{SYLLABLES[y[i]]}인데 {SYLLABLES[guess[i]]}" for i in wrong]
show(*x[wrong], titles=titles, columns=7, size=1.2)

# %% [markdown]
# **생각해 보기**
#
# - 어떤 글자들을 서로 헷갈리나요? 평균 그림을 다시 보고 이유를 찾아보세요.
# - 본 글꼴보다 못 본 글꼴에서 왜 더 많이 틀릴까요? (08 시간에 이 질문으로 돌아와요.)
# - 글자가 옆으로 다섯 칸 밀려 있으면 이 방법은 어떻게 될까요?

# %% [markdown]
# ## 6. 과제 (10분)
#
# **Nbgrader → Assignment List**에서 `01-pixels-to-tensors`를 **Fetch**하고 `exercise-01`을 열어요.
#
# - 그림 묶음을 0과 1 사이의 소수로 바꾸는 `normalise`
# - 이름표를 원-핫으로 바꾸는 `one_hot`
#
# 점수는 **자료형 → 모양 → 값 → 성질**의 계단이에요. 값까지 못 맞혀도 자료형과 모양이 맞으면 그만큼 점수를 받아요.

# %% [markdown]
# ## 기억할 것
#
# - 텐서를 만나면 **`shape`과 `dtype`부터** 물어봐요.
# - `uint8`은 넘치면 0부터 다시 시작해요. 계산하기 전에 `float`로 바꿔요.
# - 그림 묶음의 모양은 `(장수, 색, 세로, 가로)`, 맨 앞이 **몇 번째 그림인지**예요.
# - 길이 1인 차원은 늘어나서 맞춰져요(**브로드캐스팅**). `[:, None]`으로 끼워 넣어요.
# - `x = x.to(device)` — 옮긴 것을 다시 받아야 해요.
#
# 다음 시간에는 컴퓨터가 틀린 만큼 스스로 고치게 해요: **02 기울기로 배우기**.
