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
# # 과제 00 환경 점검 / Warm-up
#
# 1점, 5분. 과제를 받고, 풀고, 제출하는 연습이에요.
#
# 컴퓨터에 그림은 작은 점, **픽셀**(pixel)을 바둑판처럼 늘어놓은 것이에요.
# 가로에 `width`개, 세로에 `height`개의 픽셀이 있는 그림의 픽셀은 모두 몇 개일까요?
#
# 아래 셀에서 `# YOUR CODE HERE`와 `raise NotImplementedError()`를 지우고 그 자리에 코드를 써 주세요.
# 함수는 값을 `print`하지 말고 `return`해야 해요.

# %% nbgrader={"grade": false, "grade_id": "pixels", "locked": false, "schema_version": 3, "solution": true, "task": false}
def pixels(width, height):
    """가로 width개, 세로 height개인 그림의 픽셀 수를 돌려줘요."""
    ### BEGIN SOLUTION
    return width * height
    ### END SOLUTION


# %% [markdown] nbgrader={"grade": false, "grade_id": "try-it", "locked": true, "schema_version": 3, "solution": false, "task": false}
# 위 셀을 실행한 뒤 아래 셀을 실행해 보세요. 아무 말이 없으면 통과예요.
# 그다음 **Ctrl + S**로 저장하고, **Assignments** 탭에서 **Validate**와 **Submit**을 눌러요.

# %% nbgrader={"grade": true, "grade_id": "pixels-value", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
count = pixels(4, 3)
assert count is not None, "값을 돌려받지 못했어요. print 대신 return을 썼는지 보세요."
assert count == 12, f"4 × 3 그림의 픽셀은 12개여야 하는데 {count}개라고 했어요."
### BEGIN HIDDEN TESTS
for width, height in ((1, 1), (28, 28), (32, 7), (640, 480)):
    assert pixels(width, height) == width * height, "다른 크기의 그림에서는 값이 맞지 않아요. 가로와 세로를 모두 썼나요?"
### END HIDDEN TESTS
