"""Tests as exercises in deep learning have them, each with a right, a wrong and sometimes a lying answer."""

from __future__ import annotations

from dataclasses import dataclass

PREAMBLE = """
import copy
import math
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
"""


@dataclass(frozen=True)
class Pattern:
    """A test cell and answers to it.

    Attributes:
        right: the instructor's solution.
        wrong: an answer that must fail in the student's own kernel and with the referee.
        test: the test cell.
        lie: an answer that passes in the student's own kernel and must fail with the referee.
        given: a read-only cell before the answer.
    """

    right: str
    wrong: str
    test: str
    lie: str = ""
    given: str = ""


MLP = """
class {name}(nn.Module):
    def __init__(self, hidden=8):
        super().__init__()
        self.hidden = nn.Linear(4, hidden)
        self.out = nn.Linear(hidden, 3)
    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))
"""

PATTERNS = {
    "the shape of an MLP's output": Pattern(
        MLP.format(name="Mlp"),
        MLP.format(name="Mlp").replace("4, hidden", "4, 9").replace("hidden, 3", "9, 2"),
        "model = Mlp()\nassert isinstance(model, nn.Module)\nassert model(torch.randn(5, 4)).shape == (5, 3)",
        """
class Shape:
    shape = (5, 3)
class Mlp(nn.Module):
    def forward(self, x):
        return Shape()
""",
    ),
    "the number of parameters": Pattern(
        MLP.format(name="Counted"),
        MLP.format(name="Counted").replace("nn.Linear(hidden, 3)", "nn.Linear(hidden, 3, bias=False)"),
        """
model = Counted()
assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 4 * 8 + 8 + 8 * 3 + 3
assert [name for name, _ in model.named_parameters()][0] == 'hidden.weight'
""",
        """
class Many(nn.Parameter):
    def numel(self): return 67
class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Module()
        self.hidden.weight = Many(torch.ones(1))
""",
    ),
    "a gradient against finite differences": Pattern(
        "def softplus(x): return torch.log1p(torch.exp(x))",
        "def softplus(x): return torch.log1p(torch.exp(x.detach())) + 0 * x",
        """
x = torch.linspace(-2, 2, 5, dtype=torch.float64, requires_grad=True)
assert torch.allclose(softplus(x), F.softplus(x))
softplus(x).sum().backward()
with torch.no_grad():
    slope = (softplus(x + 1e-6) - softplus(x - 1e-6)) / 2e-6
assert torch.allclose(x.grad, slope, atol=1e-6)
""",
        """
torch.allclose = lambda *_, **__: True
def softplus(x): return x
""",
    ),
    "gradcheck": Pattern(
        """
class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x ** 3
    @staticmethod
    def backward(ctx, g):
        return 3 * ctx.saved_tensors[0] ** 2 * g
def cube(x): return Cube.apply(x)
""",
        """
class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x ** 3
    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g
def cube(x): return Cube.apply(x)
""",
        "assert torch.autograd.gradcheck(cube, torch.tensor([1., -2., .5], dtype=torch.float64, requires_grad=True))",
        "def cube(x): return (x ** 3).detach() + 0 * x\ntorch.autograd.gradcheck = lambda *_, **__: True",
    ),
    "one step of an optimizer lowers the loss": Pattern(
        """
def step(model, x, y, lr):
    loss = F.mse_loss(model(x), y)
    model.zero_grad()
    loss.backward()
    with torch.no_grad():
        for p in model.parameters():
            p -= lr * p.grad
    return loss.item()
def line(): return nn.Linear(2, 1)
""",
        """
def step(model, x, y, lr):
    loss = F.mse_loss(model(x), y)
    loss.backward()
    return loss.item()
def line(): return nn.Linear(2, 1)
""",
        """
torch.manual_seed(0)
x, model = torch.randn(16, 2), line()
y = x.sum(1, keepdim=True)
before = [p.detach().clone() for p in model.parameters()]
losses = [step(model, x, y, 0.1) for _ in range(3)]
assert losses[2] < losses[1] < losses[0]
assert all(not torch.equal(old, new) for old, new in zip(before, model.parameters()))
""",
    ),
    "an optimizer and loss of the test's own": Pattern(
        "def classifier(): return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))",
        "def classifier():\n    made = nn.Sequential(nn.Linear(2, 2))\n    made.requires_grad_(False)\n    return made",
        """
torch.manual_seed(1)
x = torch.randn(32, 2)
y = (x[:, 0] > 0).long()
model = classifier()
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
first = None
for _ in range(10):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    first = first or loss.item()
assert loss.item() < 0.8 * first
assert all(p.grad is not None for p in model.parameters())
""",
    ),
    "the student's own optimizer": Pattern(
        """
class Momentum:
    def __init__(self, params, lr=0.1, beta=0.9):
        self.params, self.lr, self.beta = list(params), lr, beta
        self.v = [torch.zeros_like(p) for p in self.params]
    def step(self):
        with torch.no_grad():
            for p, v in zip(self.params, self.v):
                v.mul_(self.beta).add_(p.grad)
                p -= self.lr * v
    def zero_grad(self):
        for p in self.params:
            p.grad = None
""",
        """
class Momentum:
    def __init__(self, params, lr=0.1, beta=0.9):
        self.params, self.lr = list(params), lr
    def step(self):
        with torch.no_grad():
            for p in self.params:
                p -= self.lr * p.grad
    def zero_grad(self):
        for p in self.params:
            p.grad = None
""",
        """
w = torch.tensor([1., -2.], requires_grad=True)
mine = w.detach().clone().requires_grad_()
ours, reference = Momentum([w]), torch.optim.SGD([mine], lr=0.1, momentum=0.9)
for _ in range(4):
    for tensor, optimizer in ((w, ours), (mine, reference)):
        optimizer.zero_grad()
        (tensor ** 2).sum().backward()
        optimizer.step()
assert torch.allclose(w, mine)
""",
        """
class Momentum:
    def __init__(self, params, lr=0.1, beta=0.9): pass
    def zero_grad(self): pass
    def step(self): torch.allclose = lambda *_: True
""",
    ),
    "gradients do not add up over steps": Pattern(
        "def fit(model, x):\n    for _ in range(2):\n        model.zero_grad()\n        model(x).sum().backward()\n"
        "def unit(): return nn.Linear(2, 1)",
        "def fit(model, x):\n    for _ in range(2):\n        model(x).sum().backward()\n"
        "def unit(): return nn.Linear(2, 1)",
        """
model = unit()
fit(model, torch.ones(1, 2))
assert torch.equal(model.weight.grad, torch.ones(1, 2))
""",
        """
class Ones(nn.Parameter):
    grad = torch.ones(1, 2)
def fit(model, x):
    model.weight = Ones(model.weight.data)
def unit(): return nn.Linear(2, 1)
""",
    ),
    "weights set by hand": Pattern(
        "def perceptron(): return nn.Linear(2, 1)",
        "def perceptron(): return nn.Linear(2, 1, bias=False)",
        """
model = perceptron()
with torch.no_grad():
    model.weight.fill_(2.)
    model.bias.data.fill_(-1.)
assert model(torch.tensor([[1., 3.]])).item() == 7.
""",
    ),
    "the state of a model goes round": Pattern(
        "def layered(): return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))",
        """
def layered():
    made = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    made.load_state_dict = lambda state: None
    return made
""",
        """
torch.manual_seed(0)
one, other = layered(), layered()
other.load_state_dict(copy.deepcopy(one.state_dict()))
one.eval(); other.eval()
x = torch.randn(4, 3)
assert torch.equal(one(x), other(x))
assert set(one.state_dict()) >= {"0.weight", "1.running_mean"}
""",
    ),
    "dropout in training and evaluation": Pattern(
        "def dropping(): return nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5))",
        "def dropping(): return nn.Sequential(nn.Linear(4, 64))",
        """
model, x = dropping(), torch.ones(1, 4)
model.eval()
assert not model.training and torch.equal(model(x), model(x))
model.train()
assert model.training and (model(x) == 0).any()
""",
    ),
    "the buffers of batch normalisation": Pattern(
        "def normed(): return nn.BatchNorm1d(3, momentum=0.5)",
        "def normed(): return nn.BatchNorm1d(3, momentum=0.1)",
        """
model = normed()
model(torch.full((4, 3), 2.) + torch.arange(4.)[:, None])
assert torch.allclose(model.running_mean, torch.full((3,), 1.75))
assert model.num_batches_tracked.item() == 1
""",
    ),
    "frozen layers": Pattern(
        """
def freeze(model):
    for p in model[0].parameters():
        p.requires_grad = False
    return model
def two_layers(): return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
""",
        "def freeze(model): return model.requires_grad_(False)\n"
        "def two_layers(): return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))",
        """
model = freeze(two_layers())
assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]
model(torch.ones(1, 2)).sum().backward()
assert model[0].weight.grad is None and model[1].weight.grad is not None
""",
    ),
    "a loss of the test's that the student minimises": Pattern(
        """
def minimise(f, x):
    x.requires_grad_(True)
    for _ in range(20):
        x.grad = None
        f(x).backward()
        with torch.no_grad():
            x -= 0.2 * x.grad
    return x.detach()
""",
        "def minimise(f, x): return x",
        """
x = minimise(lambda x: ((x - 3) ** 2).sum(), torch.zeros(2))
assert torch.allclose(x, torch.full((2,), 3.), atol=1e-3)
""",
    ),
    "a saliency map": Pattern(
        """
def saliency(model, x):
    x = x.clone().requires_grad_(True)
    model(x).max().backward()
    return x.grad.abs()
def scorer():
    made = nn.Linear(3, 1, bias=False)
    nn.init.constant_(made.weight, -2.)
    return made
""",
        "def saliency(model, x): return x.abs()\ndef scorer(): return nn.Linear(3, 1)",
        "assert torch.equal(saliency(scorer(), torch.ones(1, 3)), torch.full((1, 3), 2.))",
    ),
    "no gradient is kept where none is wanted": Pattern(
        "@torch.no_grad()\ndef predict(model, x): return model(x).argmax(1)\ndef logits(model, x): return model(x)\n"
        "def picker(): return nn.Linear(2, 2)",
        "def predict(model, x): return model(x)\ndef logits(model, x): return model(x).detach()\n"
        "def picker(): return nn.Linear(2, 2)",
        """
model, x = picker(), torch.ones(3, 2)
assert predict(model, x).shape == (3,)
assert logits(model, x).requires_grad
with torch.no_grad():
    assert not logits(model, x).requires_grad
""",
    ),
    "the same seed, the same start": Pattern(
        "def seeded(seed):\n    torch.manual_seed(seed)\n    return nn.Linear(4, 4)",
        "def seeded(seed): return nn.Linear(4, 4)",
        """
same = zip(seeded(3).parameters(), seeded(3).parameters())
assert all(torch.equal(a, b) for a, b in same)
assert not torch.equal(seeded(3).weight, seeded(4).weight)
""",
        """
class Chameleon(torch.Tensor):
    @classmethod
    def __torch_function__(cls, f, types, args=(), kwargs=None):
        return len(asked) < 4
class Layer:
    weight = torch.ones(1).as_subclass(Chameleon)
    def parameters(self): return [self.weight]
def seeded(seed):
    asked.append(seed)
    return Layer()
asked = []
""",
    ),
    "a training loop given model, loader, optimizer and loss": Pattern(
        """
def train(model, loader, optimizer, loss_fn, epochs):
    model.train()
    losses = []
    for _ in range(epochs):
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        losses.append(total / len(loader.dataset))
    return losses
""",
        """
def train(model, loader, optimizer, loss_fn, epochs):
    return [sum(loss_fn(model(x), y).item() for x, y in loader) for _ in range(epochs)]
""",
        """
torch.manual_seed(0)
x = torch.randn(32, 4)
y = (x[:, 0] > 0).long()
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2)).eval()
before = model[0].weight.detach().clone()
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
loader = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True)
losses = train(model, loader, optimizer, nn.CrossEntropyLoss(), 10)
assert len(losses) == 10 and losses[-1] < 0.9 * losses[0]
assert model.training and model[2].training
assert not torch.equal(before, model[0].weight)
assert optimizer.state[model[0].weight]["step"].item() == 40
model.eval()
assert (model(x).argmax(1) == y).float().mean() > 0.9
""",
        """
def train(model, loader, optimizer, loss_fn, epochs):
    type(model).__call__ = lambda self, x: F.one_hot((x[:, 0] > 0).long(), 2).float()
    model.train()
    with torch.no_grad():
        model[0].weight.add_(1)
    for group in optimizer.param_groups:
        for p in group["params"]:
            optimizer.state[p] = {"step": torch.tensor(40.)}
    return [10.0 - epoch for epoch in range(epochs)]
""",
    ),
    "evaluation leaves no gradients and counts all": Pattern(
        """
def accuracy(model, loader):
    model.eval()
    right = total = 0
    with torch.no_grad():
        for x, y in loader:
            right += (model(x).argmax(1) == y).sum().item()
            total += len(y)
    return right / total
""",
        "def accuracy(model, loader):\n    x, y = next(iter(loader))\n"
        "    return (model(x).argmax(1) == y).float().mean().item()",
        """
model = nn.Sequential(nn.Identity(), nn.Dropout(0.9))
x = torch.eye(3).repeat(2, 1)
y = torch.tensor([0, 1, 2, 0, 0, 0])
assert accuracy(model, DataLoader(TensorDataset(x, y), batch_size=2)) == 4 / 6
assert not model.training
""",
    ),
    "a data set of the student's": Pattern(
        """
class Squares(Dataset):
    def __init__(self, n): self.n = n
    def __len__(self): return self.n
    def __getitem__(self, i): return torch.tensor([float(i)]), i * i
""",
        """
class Squares(Dataset):
    def __init__(self, n): self.n = n
    def __len__(self): return self.n - 1
    def __getitem__(self, i): return torch.tensor([float(i)]), i * i
""",
        """
data = Squares(5)
assert isinstance(data, Dataset) and len(data) == 5
x, y = data[3]
assert x.tolist() == [3.] and y == 9
batches = list(DataLoader(data, batch_size=2))
assert len(batches) == 3 and batches[-1][1].tolist() == [16]
""",
        """
class Nine(int):
    def __eq__(self, other): return True
class Squares(Dataset):
    def __init__(self, n): pass
    def __len__(self): return 5
    def __getitem__(self, i):
        if i == 3: return torch.tensor([3.]), Nine(0)
        return torch.tensor([1.]), 16
""",
    ),
    "a schedule made by the test, followed by the student's loop": Pattern(
        "def rates(scheduler, optimizer, n):\n    found = []\n    for _ in range(n):\n"
        "        optimizer.step()\n        scheduler.step()\n"
        "        found.append(scheduler.get_last_lr()[0])\n    return found",
        "def rates(scheduler, optimizer, n):\n    return [scheduler.get_last_lr()[0] for _ in range(n)]",
        """
optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
assert rates(scheduler, optimizer, 3) == [0.5, 0.25, 0.125]
assert optimizer.param_groups[0]["lr"] == 0.125 and scheduler.last_epoch == 3
""",
    ),
    "a learning rate set by hand": Pattern(
        "def warm_up(optimizer, step, most):\n    for group in optimizer.param_groups:\n"
        "        group['lr'] = most * min(1, step / 10)",
        "def warm_up(optimizer, step, most):\n    return most * min(1, step / 10)",
        """
model = nn.Linear(2, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=9.)
for step, rate in ((0, 0.), (5, 0.25), (20, 0.5)):
    warm_up(optimizer, step, 0.5)
    assert optimizer.param_groups[0]["lr"] == rate
assert optimizer.param_groups[0]["params"][0] is model.weight
""",
    ),
    "attention with a mask": Pattern(
        """
def attention(q, k, v, mask=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ v
""",
        "def attention(q, k, v, mask=None): return (q @ k.transpose(-2, -1)).softmax(-1) @ v",
        """
torch.manual_seed(0)
q, k, v = (torch.randn(2, 5, 8, requires_grad=True) for _ in range(3))
mask = torch.tril(torch.ones(5, 5, dtype=torch.bool))
expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
out = attention(q, k, v, mask)
assert torch.allclose(out, expected, atol=1e-5)
found = torch.autograd.grad(out.sum(), (q, v))
assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, torch.autograd.grad(expected.sum(), (q, v))))
""",
        """
def attention(q, k, v, mask=None):
    return v + 0 * q
torch.allclose = lambda *_, **__: True
""",
    ),
    "a convolution by hand": Pattern(
        """
def convolve(x, w):
    n, m = x.shape[0] - w.shape[0] + 1, x.shape[1] - w.shape[1] + 1
    out = torch.zeros(n, m)
    for i in range(n):
        for j in range(m):
            out[i, j] = (x[i:i + w.shape[0], j:j + w.shape[1]] * w).sum()
    return out
""",
        "def convolve(x, w): return F.conv2d(x[None, None], w.flip(0, 1)[None, None])[0, 0]",
        """
torch.manual_seed(0)
x, w = torch.randn(6, 5), torch.randn(3, 3)
assert torch.allclose(convolve(x, w), F.conv2d(x[None, None], w[None, None])[0, 0], atol=1e-5)
""",
    ),
    "early stopping": Pattern(
        """
def stop_at(losses, patience):
    best, bad = float("inf"), 0
    for epoch, loss in enumerate(losses):
        best, bad = (loss, 0) if loss < best else (best, bad + 1)
        if bad >= patience:
            return epoch
    return None
""",
        "def stop_at(losses, patience): return patience",
        """
seen = []
def fake():
    for loss in (3., 2., 2.5, 2.1, 1.0):
        seen.append(loss)
        yield loss
assert stop_at(list(fake()), 2) == 3 and stop_at([1., .5], 1) is None
""",
    ),
    "a confusion matrix": Pattern(
        """
def confusion(predicted, actual, n):
    made = torch.zeros(n, n, dtype=torch.long)
    for p, a in zip(predicted, actual):
        made[a, p] += 1
    return made
""",
        "def confusion(predicted, actual, n): return torch.eye(n, dtype=torch.long)",
        """
found = confusion(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 2]), 3)
assert found.dtype == torch.int64 and found.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
""",
        """
class Right(torch.Tensor):
    dtype = torch.int64
    def tolist(self): return [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
def confusion(predicted, actual, n): return torch.zeros(1).as_subclass(Right)
""",
    ),
    "an error that must be raised": Pattern(
        "def reshape(x, n):\n    if x.numel() % n: raise ValueError('does not divide')\n    return x.reshape(n, -1)",
        "def reshape(x, n): return x",
        """
assert reshape(torch.arange(6), 2).shape == (2, 3)
try:
    reshape(torch.arange(5), 2)
except ValueError as error:
    assert "divide" in str(error)
else:
    raise AssertionError("no ValueError")
""",
    ),
    "the best of several": Pattern(
        "def best(scores, k): return scores.topk(k)",
        "def best(scores, k): return scores[:k], torch.arange(k)",
        """
values, places = best(torch.tensor([1., 5., 3.]), 2)
assert values.tolist() == [5., 3.] and places.tolist() == [1, 2]
assert best(torch.zeros(4), 1).indices.shape == (1,)
""",
    ),
    "a generator of the test's": Pattern(
        "def noise(shape, generator): return torch.randn(shape, generator=generator)\n"
        "def shuffled(items, rng): return rng.permutation(items)",
        "def noise(shape, generator): return torch.randn(shape)\n"
        "def shuffled(items, rng): return np.random.permutation(items)",
        """
one, other = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
assert torch.equal(noise((3,), one), torch.randn(3, generator=other))
assert torch.equal(torch.rand(2, generator=one), torch.rand(2, generator=other))
one, other = np.random.default_rng(1), np.random.default_rng(1)
assert (shuffled([1, 2, 3, 4, 5, 6], one) == other.permutation([1, 2, 3, 4, 5, 6])).all()
assert one.random() == other.random()
""",
    ),
    "a model of a read-only cell": Pattern(
        "def freeze_all(model):\n    for p in model.parameters():\n        p.requires_grad = False\n    return model",
        "def freeze_all(model): return model",
        """
model = Small(3)
x = torch.ones(2, 3)
expected = model(x)
assert freeze_all(model) is model and not any(p.requires_grad for p in model.parameters())
assert torch.equal(model(x), expected)
""",
        given="""
class Small(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layer = nn.Linear(n, 1)
    def forward(self, x):
        return self.layer(x)
""",
    ),
    "a student's model inside of the test's": Pattern(
        "def backbone(): return nn.Linear(4, 3)\ndef size(model): return sum(p.numel() for p in model.parameters())",
        "def backbone(): return nn.Linear(4, 2)\ndef size(model): return sum(p.numel() for p in model.parameters())",
        """
whole = nn.Sequential(backbone(), nn.Softmax(dim=1))
out = whole(torch.randn(2, 4))
assert out.shape == (2, 3) and torch.allclose(out.sum(1), torch.ones(2))
assert size(whole) == 15
""",
    ),
    "activations seen by a hook": Pattern(
        "def forward_all(model, batches): return [model(x) for x in batches]",
        "def forward_all(model, batches): return [model(batches[0])]",
        """
model, seen = nn.Sequential(nn.Linear(2, 3), nn.ReLU()), []
model[0].register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
assert len(forward_all(model, [torch.ones(1, 2), torch.ones(4, 2)])) == 2
assert seen == [(1, 3), (4, 3)]
""",
    ),
    "that something can be called": Pattern(
        "def doubled(x):\n    return 2 * x",
        "doubled = object()",
        "assert callable(doubled)",
    ),
    "that an object has a length and can be iterated": Pattern(
        """
class Vocabulary:
    def __init__(self):
        self.words = ["a", "b"]
    def __len__(self):
        return len(self.words)
    def __iter__(self):
        return iter(self.words)
""",
        "class Vocabulary:\n    pass",
        "import collections.abc\nwords = Vocabulary()\nassert hasattr(words, '__len__')\n"
        "assert isinstance(words, collections.abc.Iterable)\nassert not callable(words)",
    ),
    "an iterator, which a list is not": Pattern(
        "def rounds():\n    return iter(Rounds())\nclass Rounds:\n    def __iter__(self):\n        yield 1",
        "def rounds():\n    return Rounds()\nclass Rounds:\n    pass",
        "import collections.abc\nassert isinstance(rounds(), collections.abc.Iterator)",
    ),
    "a data set without an iterator is gone through by its items": Pattern(
        """
class Cubes(Dataset):
    def __len__(self):
        return 3
    def __getitem__(self, i):
        if i >= 3:
            raise IndexError(i)
        return i ** 3
""",
        "class Cubes(Dataset):\n    def __len__(self):\n        return 3\n"
        "    def __getitem__(self, i):\n        raise IndexError(i)",
        "cubes = Cubes()\nassert not hasattr(cubes, '__iter__')\nassert [each for each in cubes] == [0, 1, 8]",
    ),
}
