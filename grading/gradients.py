"""Gradients across the door: a test may call ``backward`` on what a student's function returned, and the reverse.

A *leaf* (a parameter, or a tensor that somebody set ``requires_grad`` on) that crosses has a mirror on the other side,
and each message says what has changed of either since the last. A *result* stays where it was computed. The other side
has its numbers, as the output of a function whose ``backward`` asks for the gradients here.

Both sides use this file. What the other side says of a tensor is data of the shape and type that the tensor has, or it
is refused; it changes only leaves that have crossed.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from door import Decoder, DoorError, Encoder, is_plain, tensor_numbers

LEAVES_LIMIT = 20_000  # leaves that one side may have mirrored with the other

Ask = Callable[[int, bool, Any], Any]


class Leaf:
    """A tensor that both sides have, and what the other side knows of it.

    Attributes:
        get: the tensor here; None when nobody here has it any more.
        is_mirror: it was made on the other side.
    """

    def __init__(self, get: Callable[[], Any], *, is_mirror: bool = False) -> None:
        self.get = get
        self.is_mirror = is_mirror
        self.sent()

    def sent(self) -> None:
        """The other side knows it as it is now."""
        tensor = self.get()
        self.data = tensor.detach().clone()
        self.requires_grad = tensor.requires_grad
        self.grad = _grad(tensor)  # this object
        self.slope = None if self.grad is None else self.grad.detach().clone()  # and what was in it

    def news(self, encoder: Encoder) -> list[Any] | None:
        """Its data (null: as before), its gradient (null: as before; False: none; else whether it is another object,
        and its data), and whether it needs one.
        """
        tensor = self.get()
        now = _grad(tensor)
        data = None if _same(tensor, self.data) else encoder.tensor(tensor)
        grad: Any = None
        if now is None:
            grad = None if self.grad is None else False
        elif now is not self.grad or not _same(now, self.slope):
            grad = [now is not self.grad, encoder.tensor(now)]
        if data is None and grad is None and tensor.requires_grad == self.requires_grad:
            return None
        self.sent()
        return [data, grad, tensor.requires_grad]

    def hear(self, data: Any, grad: Any, requires_grad: Any, decoder: Decoder) -> None:
        """Become what the other side's now is."""
        tensor = self.get()
        if data is not None:
            new = decoder.tensor(data)
            if self.is_mirror and (new.shape, new.dtype) != (tensor.shape, tensor.dtype):  # as by ``model.double()``
                tensor.grad = None
                tensor.data = new
            tensor.data.copy_(_alike(new, tensor))
        if type(requires_grad) is not bool:
            raise DoorError("neither with nor without a gradient")
        if tensor.is_leaf and tensor.requires_grad != requires_grad:
            tensor.requires_grad_(requires_grad)
        if grad is False:
            tensor.grad = None
        elif grad is not None:
            other, raw = grad
            new = _alike(decoder.tensor(raw), tensor)
            if tensor.grad is None or other is not False:
                tensor.grad = new
            else:
                tensor.grad.data.copy_(new)
        self.sent()


class Result:
    """What was computed here, the other side's leaves and results that it was computed from, by their numbers."""

    def __init__(self, tensor: Any, leaves: list[int], results: list[int]) -> None:
        self.tensor, self.leaves, self.results = tensor, leaves, results


class Ticket:
    """What a function here needs to ask for gradients there. When nobody needs it any more, it can be let go there."""

    def __init__(self, gradients: Gradients, number: int) -> None:
        self.gradients, self.number = gradients, number


class Gradients:
    """One side's leaves and results.

    Args:
        ask: have the other side go back from its result of this number, given whether its leaves' gradients are wanted,
            and the gradient of the result.
        impossible: makes the exception for what cannot be done through the door.
    """

    def __init__(self, ask: Ask, impossible: Callable[[str], BaseException]) -> None:
        self.ask = ask
        self.impossible = impossible
        self._last = 0
        self._leaves: dict[int, Leaf] = {}  # made here, by our numbers; the other side has mirrors
        self._mirrors: dict[int, Leaf] = {}  # of leaves made there, by their numbers
        self._numbers: dict[int, tuple[bool, int]] = {}  # of leaves and mirrors by id: whether made here, number
        self._results: dict[int, Result] = {}
        self._new: list[int] = []  # of ours that no message has told of yet
        self._gone: list[tuple[str, int]] = []  # of theirs, that nobody here has any more
        self._held: list[
            Any
        ] = []  # mirrors stay until the next message: it tells of changes, and the answer names them
        self._collected: dict[int, Any] | None = None  # gradients of the other side's results, while it waits for them

    def describe(self, value: Any, encoder: Encoder) -> list[Any]:
        """A tensor that needs a gradient, or a parameter."""
        if not is_plain(value):
            raise DoorError("a tensor that is not plain numbers on the CPU")
        if not value.is_leaf:
            leaves, results = self._history(value)
            theirs = [number for ours, number in map(self._number, leaves) if not ours and number]
            number = self._count()
            self._results[number] = Result(value, theirs, results)
            return ["result", number, theirs, results, encoder.tensor(value)]
        ours, number = self._number(value)
        if number:
            return ["known", ours, number]
        return self._introduce(value, encoder)

    def _introduce(self, leaf: Any, encoder: Encoder) -> list[Any]:
        torch = sys.modules["torch"]
        number = self._count()
        self._leaves[number] = Leaf(lambda: leaf)
        self._numbers[id(leaf)] = True, number
        grad = None if _grad(leaf) is None else encoder.tensor(leaf.grad)
        return ["leaf", number, type(leaf) is torch.nn.Parameter, leaf.requires_grad, encoder.tensor(leaf), grad]

    def rebuild(self, raw: list[Any], decoder: Decoder) -> Any:
        """The reverse of the other side's `describe`."""
        match raw:
            case ["known", bool() as theirs, int() as number]:
                leaf = (self._mirrors if theirs else self._leaves).get(number)
                tensor = leaf and leaf.get()
                if tensor is not None:
                    return tensor
            case ["leaf", int() as number, bool() as parameter, bool() as needs, data, grad]:
                return self._mirror(number, _leaf(decoder.tensor(data), parameter, needs), grad, decoder)
            case ["result", int() as number, list() as leaves, list() as results, data]:
                return self._result(number, leaves, results, decoder.tensor(data))
        raise DoorError("no tensor that was ever here")

    def adopt(self, mine: Any, raw: list[Any], decoder: Decoder) -> None:
        """A plain tensor of ours became a leaf there: so it does here, and is the mirror from now on."""
        made = self.rebuild(raw, decoder)
        mine.data.copy_(_alike(made.data, mine))
        mine.requires_grad_(made.requires_grad).grad = made.grad
        ours, number = self._number(made)
        if not ours:
            self._be_mirror(number, mine)

    def _mirror(self, number: int, tensor: Any, grad: Any, decoder: Decoder) -> Any:
        if number in self._mirrors or len(self._mirrors) >= LEAVES_LIMIT:
            raise DoorError("a leaf that is not new, or one too many")
        if grad is not None:
            tensor.grad = _alike(decoder.tensor(grad), tensor)
        self._be_mirror(number, tensor)
        return tensor

    def _be_mirror(self, number: int, tensor: Any) -> None:
        self._mirrors[number] = Leaf(weakref.ref(tensor), is_mirror=True)
        self._numbers[id(tensor)] = False, number
        self._held.append(tensor)
        weakref.finalize(tensor, self._gone.append, ("leaf", number)).atexit = False

    def _result(self, number: int, leaves: list[Any], results: list[Any], data: Any) -> Any:
        torch = sys.modules["torch"]
        if not (data.is_floating_point() or data.is_complex()):
            raise DoorError("whole numbers have no gradient")
        known = [self._leaves.get(each) for each in leaves if type(each) is int]
        inputs = [leaf.get() for leaf in known if leaf]
        inputs += [self._results[each].tensor for each in results if type(each) is int and each in self._results]
        if len(inputs) != len(leaves) + len(results):
            raise DoorError("a result of what was never there")
        ticket = Ticket(self, number)
        weakref.finalize(ticket, self._gone.append, ("result", number)).atexit = False
        with torch.enable_grad():
            return crossing().apply(ticket, [data], _anchor(), *inputs)

    def news(self, encoder: Encoder) -> dict[str, Any]:
        """What the next message says of leaves and results: what has changed, and what can be let go."""
        self._new.clear()
        changed = []
        for ours, leaves in ((True, self._leaves), (False, self._mirrors)):
            for number, leaf in leaves.items():
                news = leaf.news(encoder)
                if news:
                    changed.append([ours, number, *news])
        self._held.clear()  # what nobody else has goes now
        gone = self._let_go()
        self._held = [leaf.get() for leaf in self._mirrors.values()]
        return {"leaves": changed, "gone": gone}

    def _let_go(self) -> list[list[Any]]:
        gone = []
        while self._gone:
            kind, number = self._gone.pop()
            if kind == "leaf":
                leaf = self._mirrors.get(number)
                if leaf is None or leaf.get() is not None:
                    continue  # another tensor has become the mirror
                del self._mirrors[number]
            gone.append([kind, number])
        if gone:
            self._numbers = {
                id(leaf.get()): (ours, number)
                for ours, leaves in ((True, self._leaves), (False, self._mirrors))
                for number, leaf in leaves.items()
            }
        return gone

    def hear(self, message: dict[str, Any], decoder: Decoder) -> None:
        """Take in what the other side says with a message."""
        for theirs, number, *news in message["leaves"]:
            leaf = (self._mirrors if theirs is True else self._leaves).get(_int(number))
            if leaf is None or len(news) != 3:  # data, gradient, whether it needs one
                raise DoorError("news of a leaf that is not there")
            if leaf.get() is not None:
                leaf.hear(*news, decoder)
        for kind, number in message["gone"]:
            _int(number)
            if kind == "result":
                self._results.pop(number, None)
            else:
                leaf = self._leaves.pop(number, None)
                if leaf:
                    self._numbers.pop(id(leaf.get()), None)

    def undo(self) -> None:
        """Forget what was described for a message that is not sent."""
        for number in self._new:
            self._results.pop(number, None)
            leaf = self._leaves.pop(number, None)
            if leaf:
                self._numbers.pop(id(leaf.get()), None)
        self._new.clear()

    def backward(self, number: object, accumulate: object, grad: object) -> list[Any]:
        """Go back from a result of ours.

        Args:
            number: the result's.
            accumulate: whether our leaves get their gradients, as ``backward`` would do; ``autograd.grad`` wants none.
            grad: of the result.

        Returns:
            Gradients of the other side's leaves and results, in the order in which `describe` named them.
        """
        torch = sys.modules["torch"]
        result = self._results.get(number) if type(number) is int else None
        if result is None or type(grad) is not torch.Tensor:
            raise DoorError("no result to go back from")
        theirs = [self._mirrors[each].get() for each in result.leaves]
        leaves, _ = self._history(result.tensor)
        aside = [leaf for leaf in leaves if not accumulate or any(leaf is each for each in theirs)]
        with _without_grads(aside), self._collecting() as collected:
            torch.autograd.backward(result.tensor, _alike(grad, result.tensor), retain_graph=True)
            return [leaf.grad for leaf in theirs] + [collected.get(each) for each in result.results]

    def collect(self, number: int, grad: Any) -> bool:
        """Whether the other side waits for gradients, and this one is now among them."""
        if self._collected is None:
            return False
        before = self._collected.get(number)
        self._collected[number] = grad if before is None else before + grad
        return True

    @contextmanager
    def _collecting(self) -> Iterator[dict[int, Any]]:
        outer, self._collected = self._collected, {}
        try:
            yield self._collected
        finally:
            self._collected = outer

    def _number(self, tensor: Any) -> tuple[bool, int]:
        """Whether a leaf was made here and its number; 0 if it has not crossed."""
        ours, number = self._numbers.get(id(tensor), (True, 0))
        leaf = (self._leaves if ours else self._mirrors).get(number)
        return (ours, number) if leaf and leaf.get() is tensor else (True, 0)

    def _history(self, result: Any) -> tuple[list[Any], list[int]]:
        """The leaves that a result was computed from, and the numbers of the other side's results."""
        ours = crossing()._backward_cls
        leaves: list[Any] = []
        results: dict[int, None] = {}
        seen, waiting = set(), [result.grad_fn]
        while waiting:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if type(node) is ours and node.ticket.gradients is self:
                results[node.ticket.number] = None
                continue
            leaf = getattr(node, "variable", None)
            if leaf is not None:
                leaves.append(leaf)
            waiting += [each for each, _ in node.next_functions]
        return leaves, list(results)

    def _count(self) -> int:
        self._last += 1
        self._new.append(self._last)
        return self._last


@functools.cache
def _anchor() -> Any:
    """A leaf of no use but to tell ``backward``, which would reach it, from ``autograd.grad`` of other leaves."""
    return sys.modules["torch"].zeros((), requires_grad=True)


@functools.cache
def crossing() -> Any:
    """The autograd function whose output is a result of the other side."""
    torch = sys.modules["torch"]
    end = torch.autograd.graph.get_gradient_edge(_anchor()).node

    class Crossing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, ticket: Ticket, box: list[Any], anchor: Any, *inputs: Any) -> Any:
            ctx.ticket = ticket
            ctx.like = [(each.shape, each.dtype) for each in inputs]
            ctx.save_for_backward(anchor)
            return box.pop()  # no input of this function, so that it can be changed in place

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            _ = ctx.saved_tensors  # raises if the graph has been freed, as without a door
            gradients = ctx.ticket.gradients
            nothing = None, None, None
            if torch.is_grad_enabled():
                raise gradients.impossible("second derivatives of a student's function cannot be computed by a test")
            if gradients.collect(ctx.ticket.number, grad):
                return *nothing, *(None for _ in ctx.like)
            accumulate = bool(torch._C._will_engine_execute_node(end))
            given = gradients.ask(ctx.ticket.number, accumulate, grad)
            if type(given) is not list or len(given) != len(ctx.like):
                raise gradients.impossible("gradients of something else")
            for each, (shape, dtype) in zip(given, ctx.like, strict=True):
                if each is not None and (type(each) is not torch.Tensor or (each.shape, each.dtype) != (shape, dtype)):
                    raise gradients.impossible("a gradient of another shape or type than its tensor")
            return *nothing, *given

    return Crossing


@contextmanager
def _without_grads(leaves: list[Any]) -> Iterator[None]:
    """Leaves without gradients, which come back afterwards."""
    before = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    try:
        yield
    finally:
        for leaf, grad in zip(leaves, before, strict=True):
            leaf.grad = grad


def _int(number: object) -> int:
    if type(number) is not int:
        raise DoorError("no number of anything")
    return number


def _grad(tensor: Any) -> Any:
    """A leaf's gradient; None when there is none, or it is sparse."""
    grad = tensor.grad
    return grad if grad is not None and is_plain(grad) else None


def _leaf(data: Any, parameter: bool, needs: bool) -> Any:
    torch = sys.modules["torch"]
    if needs and not (data.is_floating_point() or data.is_complex()):
        raise DoorError("whole numbers have no gradient")
    return torch.nn.Parameter(data, needs) if parameter else data.requires_grad_(needs)


def _alike(new: Any, old: Any) -> Any:
    if (new.shape, new.dtype) != (old.shape, old.dtype):
        raise DoorError("a tensor changed its shape or type")
    return new


def _same(a: Any, b: Any) -> bool:
    """Whether two tensors hold the same bytes: NaN is itself, and -0.0 is not 0.0."""
    torch = sys.modules["torch"]
    alike = (a.shape, a.dtype) == (b.shape, b.dtype)
    return alike and bool(torch.equal(tensor_numbers(a), tensor_numbers(b)))
