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

# %% [markdown] nbgrader={"grade": false, "grade_id": "intro", "locked": true, "schema_version": 3, "solution": false, "task": false}
# # 과제 01 픽셀에서 텐서로 / Pixels to tensors
#
# 10점, 10분. 함수 두 개를 완성해요. 점수는 **자료형 → 모양 → 값 → 성질**의 계단으로 매겨요.
#
# - `# YOUR CODE HERE`와 `raise NotImplementedError()`를 지우고 그 자리에 코드를 써요.
# - 검사 셀을 실행해서 아무 말이 없으면 통과예요. 채점할 때는 다른 값으로도 검사해요.
# - 셀을 지우거나 옮기지 마세요. 연습용 셀을 새로 만드는 것은 괜찮아요.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import torch

# %% [markdown] nbgrader={"grade": false, "grade_id": "normalise-text", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 1. `normalise` — 그림 묶음을 0과 1 사이의 소수로 (5점)
#
# - 받는 것: `images`, 모양 `(N, 세로, 가로)`, 자료형 `torch.uint8`, 값은 0부터 255까지
# - 돌려줄 것: 모양 `(N, 1, 세로, 가로)`, 자료형 `torch.float32`, `0`은 `0.0`으로 `255`는 `1.0`으로
#
# 받은 `images`는 바꾸지 마세요. 다른 곳에서 또 쓸 수 있으니까요.

# %% nbgrader={"grade": false, "grade_id": "normalise", "locked": false, "schema_version": 3, "solution": true, "task": false}
def normalise(images):
    """uint8 그림 묶음 (N, 세로, 가로)를 0과 1 사이의 float32 묶음 (N, 1, 세로, 가로)로 바꿔요."""
    ### BEGIN SOLUTION
    return images[:, None].float() / 255
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "normalise-dtype", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# 자료형 (1점)
images = torch.tensor([[[0, 255, 7], [51, 102, 9]], [[1, 2, 3], [4, 5, 6]]], dtype=torch.uint8)
result = normalise(images)
assert isinstance(result, torch.Tensor), "텐서를 돌려줘야 해요. return이 있는지 보세요."
assert result.dtype == torch.float32, f"자료형이 torch.float32여야 하는데 {result.dtype}이에요."
### BEGIN HIDDEN TESTS
for size in ((1, 4, 4), (3, 2, 5)):
    result = normalise(torch.full(size, 200, dtype=torch.uint8))
    assert isinstance(result, torch.Tensor), "다른 그림에서는 텐서를 돌려주지 않았어요."
    assert result.dtype == torch.float32, "다른 그림에서는 자료형이 달라졌어요."
### END HIDDEN TESTS

# %% nbgrader={"grade": true, "grade_id": "normalise-shape", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# 모양 (1점)
images = torch.tensor([[[0, 255, 7], [51, 102, 9]], [[1, 2, 3], [4, 5, 6]]], dtype=torch.uint8)
shape = tuple(normalise(images).shape)
assert shape == (2, 1, 2, 3), f"(2, 2, 3) 묶음의 결과는 모양이 (2, 1, 2, 3)이어야 하는데 {shape}이에요."
### BEGIN HIDDEN TESTS
for number, height, width in ((1, 5, 5), (7, 3, 8), (4, 28, 20)):
    images = torch.zeros(number, height, width, dtype=torch.uint8)
    shape = tuple(normalise(images).shape)
    assert shape == (number, 1, height, width), "크기가 다른 묶음에서는 모양이 맞지 않아요. 숫자를 직접 적지 않았나요?"
### END HIDDEN TESTS

# %% nbgrader={"grade": true, "grade_id": "normalise-value", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# 값 (2점)
images = torch.tensor([[[0, 255], [51, 102]]], dtype=torch.uint8)
values = normalise(images).flatten().tolist()
assert len(values) == 4, f"픽셀 4개를 넣었는데 값이 {len(values)}개 나왔어요."
for pixel, value, expected in zip([0, 255, 51, 102], values, [0.0, 1.0, 0.2, 0.4]):
    assert abs(value - expected) < 1e-5, f"픽셀 {pixel}은 {expected}이 되어야 하는데 {value:.4f}이 되었어요."
### BEGIN HIDDEN TESTS
for seed in (1, 2):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(10, 180, (5, 6, 9), dtype=torch.uint8, generator=generator)
    result = normalise(images)
    assert result.numel() == images.numel(), "다른 묶음에서는 값의 개수가 달라졌어요."
    expected = images.double() / 255
    close = torch.allclose(result.double().flatten(), expected.flatten(), rtol=1e-5, atol=1e-7)
    assert close, "다른 묶음에서는 값이 맞지 않아요. 어두운 그림뿐일 때도 같은 규칙으로 바꾸나요?"
### END HIDDEN TESTS

# %% nbgrader={"grade": true, "grade_id": "normalise-property", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# 성질 (1점): 받은 그림을 바꾸지 않고, 결과는 언제나 0과 1 사이예요
images = torch.tensor([[[0, 255, 7], [51, 102, 9]], [[1, 2, 3], [4, 5, 6]]], dtype=torch.uint8)
before = images.clone()
result = normalise(images)
assert torch.equal(images, before), "받은 images의 값이 바뀌었어요. 새 텐서를 만들어 돌려주세요."
low, high = result.min().item(), result.max().item()
assert 0 <= low and high <= 1, f"값이 0과 1 사이여야 하는데 {low:.2f}부터 {high:.2f}까지예요."
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(3)
images = torch.randint(1, 120, (6, 4, 7), dtype=torch.uint8, generator=generator)
order = torch.randperm(6, generator=generator)
result = normalise(images)
low, high = result.min().item(), result.max().item()
assert 0 <= low < high <= 1, "다른 묶음에서는 값의 범위가 맞지 않아요."
assert torch.allclose(normalise(images[order]), result[order]), "그림의 순서를 바꾸면 결과의 순서만 바뀌어야 해요."
assert torch.allclose(normalise(images * 2), result * 2), "두 배 밝은 그림은 결과도 두 배여야 해요."
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "one-hot-text", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 2. `one_hot` — 이름표를 원-핫으로 (5점)
#
# - 받는 것: `labels`, 모양 `(N,)`, 자료형 `torch.int64`, 값은 0부터 `classes - 1`까지
# - 돌려줄 것: 모양 `(N, classes)`, 자료형 `torch.float32`. 줄마다 자기 번호의 칸만 `1.0`, 나머지는 `0.0`
#
# 구구단을 만든 브로드캐스팅을 떠올려 보세요. 다른 방법도 괜찮아요.

# %% nbgrader={"grade": false, "grade_id": "one-hot", "locked": false, "schema_version": 3, "solution": true, "task": false}
def one_hot(labels, classes):
    """이름표 (N,)를 원-핫 (N, classes)로 바꿔요."""
    ### BEGIN SOLUTION
    return (labels[:, None] == torch.arange(classes)).float()
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "one-hot-dtype", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# 자료형 (1점)
result = one_hot(torch.tensor([2, 0, 1, 3, 3]), 4)
assert isinstance(result, torch.Tensor), "텐서를 돌려줘야 해요. return이 있는지 보세요."
assert result.dtype == torch.float32, f"자료형이 torch.float32여야 하는데 {result.dtype}이에요."
### BEGIN HIDDEN TESTS
result = one_hot(torch.tensor([5, 1]), 9)
assert isinstance(result, torch.Tensor), "다른 이름표에서는 텐서를 돌려주지 않았어요."
assert result.dtype == torch.float32, "다른 이름표에서는 자료형이 달라졌어요."
### END HIDDEN TESTS

# %% nbgrader={"grade": true, "grade_id": "one-hot-shape", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# 모양 (1점)
shape = tuple(one_hot(torch.tensor([2, 0, 1, 3, 3]), 4).shape)
assert shape == (5, 4), f"이름표 5개, 종류 4가지면 모양이 (5, 4)여야 하는데 {shape}이에요."
### BEGIN HIDDEN TESTS
for labels, classes in (([0], 3), ([1, 0, 2], 3), ([0, 1, 1, 0], 14), ([6] * 20, 7)):
    shape = tuple(one_hot(torch.tensor(labels), classes).shape)
    assert shape == (len(labels), classes), "다른 이름표에서는 모양이 맞지 않아요. 모든 종류가 나오지 않을 수도 있어요."
### END HIDDEN TESTS

# %% nbgrader={"grade": true, "grade_id": "one-hot-value", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# 값 (2점)
rows = one_hot(torch.tensor([2, 0, 1, 3, 3]), 4).tolist()
expected = [[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]
assert len(rows) == 5, f"이름표가 5개인데 {len(rows)}줄이 나왔어요."
for label, row, right in zip([2, 0, 1, 3, 3], rows, expected):
    assert row == right, f"이름표 {label}의 줄은 {right}이어야 하는데 {row}이에요."
### BEGIN HIDDEN TESTS
for seed, number, classes in ((1, 30, 14), (2, 6, 6), (3, 1, 5)):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes - 1, (number,), generator=generator)
    result = one_hot(labels, classes)
    assert tuple(result.shape) == (number, classes), "다른 이름표에서는 값을 견줄 수 없는 모양이에요."
    for label, row in zip(labels.tolist(), result.tolist()):
        right = [float(column == label) for column in range(classes)]
        assert row == right, "다른 이름표에서는 값이 맞지 않아요."
### END HIDDEN TESTS

# %% nbgrader={"grade": true, "grade_id": "one-hot-property", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# 성질 (1점): 한 줄의 합은 1이고, 가장 큰 칸의 번호가 이름표예요
labels = torch.tensor([2, 0, 1, 3, 3])
result = one_hot(labels, 4)
sums = result.sum(dim=1).tolist()
assert sums == [1, 1, 1, 1, 1], f"줄마다 합이 1이어야 하는데 {sums}이에요."
back = result.argmax(dim=1).tolist()
assert back == [2, 0, 1, 3, 3], f"가장 큰 칸의 번호가 [2, 0, 1, 3, 3]이어야 하는데 {back}이에요."
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(4)
labels = torch.randint(0, 11, (40,), generator=generator)
result = one_hot(labels, 11)
assert result.argmax(dim=1).tolist() == labels.tolist(), "다른 이름표에서는 이름표로 되돌아가지 않아요."
counts = [labels.tolist().count(label) for label in range(11)]
assert result.sum(dim=0).tolist() == counts, "칸마다 더하면 그 이름표의 개수가 나와야 해요."
### END HIDDEN TESTS
