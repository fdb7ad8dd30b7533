"""Tensors and arrays through the door, in the image that has torch and NumPy."""

from __future__ import annotations

import pytest

from tests.images.conftest import Run

pytestmark = pytest.mark.images

BEGIN = """
import sys
sys.path.insert(0, '/opt/gpuclass')
import door, numpy, torch
def refuse(*_): raise door.DoorError('not plain')
def crossed(value):
    encoder = door.Encoder(refuse)
    message, buffers = door.unpack(door.pack({'v': encoder.value(value)}, encoder.buffers))
    return door.Decoder(buffers, refuse).value(message['v'])
"""
HONEST = """
base = torch.arange(12.).reshape(3, 4)
tensors = [torch.ones(()).expand(1, 1)]
tensors += [base, base.T, base[::2, 1:3], torch.tensor(2), torch.empty(0, 3), torch.zeros(2, 0, dtype=torch.bool),
           torch.tensor([True, False]), torch.ones(2, dtype=torch.bfloat16), torch.tensor([1j]).conj(),
           torch.tensor([float('nan'), 1.])]
tensors += [torch.ones(3, dtype=getattr(torch, name)) for name in door._DTYPES]
for tensor in tensors:
    made = crossed(tensor)
    assert type(made) is torch.Tensor and made.dtype == tensor.dtype and made.shape == tensor.shape
    assert torch.equal(made.nan_to_num() if made.is_floating_point() else made,
                       tensor.nan_to_num() if tensor.is_floating_point() else tensor), tensor
arrays = [numpy.arange(6).reshape(2, 3)[:, ::-1], numpy.array(1.5), numpy.array(['가', 'bc']), numpy.array([b'x']),
          numpy.array([True]), numpy.zeros((0, 2)), numpy.arange(3, dtype='>i4')]
for array in arrays:
    made = crossed(array)
    assert made.shape == array.shape and made.dtype.kind == array.dtype.kind and (made == array).all()
for value in (numpy.float32(1.5), numpy.int64(3), numpy.bool_(True), numpy.str_('가'), torch.float64,
              torch.Size([1, 2]), torch.device('cpu'), numpy.dtype('float32')):
    assert crossed(value) == value and type(crossed(value)) is type(value), value
"""
REFUSED = """
class Liar(torch.Tensor): pass
for value in (torch.ones(2).as_subclass(Liar), torch.eye(2).to_sparse(), torch.ones(2, device='meta'),
              numpy.array([object()]), numpy.ma.array([1]), torch.nn.Parameter(torch.ones(1)),
              torch.ones(1, requires_grad=True)):
    try:
        crossed(value)
    except door.DoorError:
        continue
    raise AssertionError(type(value))
"""
HOSTILE = """
eight = [memoryview(b'\\1' * 8)]
for raw in (['T', 'float32', [3], 0], ['T', 'float32', [2**40, 2**40], 0],
            ['T', 'float32', [-2], 0], ['T', 'float32', [1] * 17 + [2], 0],
            ['T', 'float32', [True, 2], 0], ['T', 'float32', [2], 0, True], ['T', 'qint8', [8], 0],
            ['T', 'Tensor', [8], 0], ['T', 'float32', [2], 1],
            ['T', 'float32', [0, 2**40, 2**40], 0], ['N', '|O8', [1], 0], ['N', '<M8[s]', [1], 0],
            ['N', '<U2', [1], 0], ['N', '<U0', [3], 0], ['N', '<f8', [2], 0], ['N', '<f8,<f8', [1], 0], ['n', '|O8', 0],
            ['nd', 'O'], ['dt', 'load'], ['dv', 'cuda:99999'], ['sz', [2**50]], ['s', [['N', '<f8', [1], 0]]]):
    try:
        made = door.Decoder(eight, refuse).value(raw)
    except door.DoorError:
        continue
    raise AssertionError((raw, made))
normal = door.Decoder(eight, refuse).value(['T', 'bool', [8], 0])
assert normal.view(torch.uint8).tolist() == [1] * 8
assert door.Decoder([memoryview(b'\\7')], refuse).value(['T', 'bool', [1], 0]).view(torch.uint8).item() == 1
"""


@pytest.mark.parametrize("source", [HONEST, REFUSED, HOSTILE], ids=["honest", "refused", "hostile"])
def test_tensors_and_arrays_cross_exactly_or_not_at_all(source: str, python: Run, built: dict[str, str]) -> None:
    python(built["grader"], BEGIN + source)
