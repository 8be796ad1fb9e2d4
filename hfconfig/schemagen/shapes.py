"""A torch function mode under which tensors know the expressions of their dimensions (`_dims`) and what they were made of (`_src`)."""
from __future__ import annotations

from typing import Any

import torch
import torch.nn as nn
import transformers
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from .symbols import Sym, expr, paused, symbolic

_FACTORIES = {"empty", "zeros", "ones", "randn", "rand", "full", "normal"}
_NEW = {"new_empty", "new_zeros", "new_ones", "new_full"}
_SHAPE = torch.Tensor.shape
_CONSTRUCTORS = _device_constructors()


class RecordShapes(TorchFunctionMode):
    """Also puts every tensor on the meta device, as torch.device("meta") does at twice the cost."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__get__" and func.__self__ is _SHAPE:
            return _symbolic_shape(args[0], func(*args))
        if name == "size" and func is torch.Tensor.size:
            out = func(*args, **kwargs)
            shape = _symbolic_shape(args[0], args[0].shape) if getattr(args[0], "_dims", None) is not None else None
            if shape is None:
                return out
            n = args[1] if len(args) > 1 else kwargs.get("dim")
            return shape if n is None else shape[n]
        if func in _CONSTRUCTORS and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        with paused():
            out = func(*args, **kwargs)
            if isinstance(out, torch.Tensor) and (name in _FACTORIES or name in _NEW):
                self._made(name, args, kwargs, out)
            elif name == "arange" and isinstance(out, torch.Tensor):
                out._dims = _arange(args, kwargs, out)
            else:
                _carry(name, args, kwargs, out)
        return out

    @staticmethod
    def _made(name: str, args: tuple, kwargs: dict, out: torch.Tensor) -> None:
        size = kwargs.get("size")
        if size is None:
            size = args[1:] if name in _NEW else args
            if name in ("full", "new_full"):
                size = size[0]
            elif name == "normal":
                size = args[2] if len(args) > 2 else ()
        if isinstance(size, int):
            size = (size,)
        if len(size) and isinstance(size[0], (tuple, list)):
            size = size[0]
        if len(size) == out.dim():
            out._dims = tuple(expr(d) for d in size)


def _arange(args: tuple, kwargs: dict, out: torch.Tensor) -> tuple[str | None]:
    given = [*args, *[kwargs[k] for k in ("start", "end", "step") if k in kwargs]]
    start, end, step = (*given, 1)[:3] if len(given) > 1 else (0, given[0], 1)
    start, end, step = (int(x) if type(x) is float and x.is_integer() else x for x in (start, end, step))
    if not all(isinstance(x, int) for x in (start, end, step)) or step < 1:
        return (None,)
    count = f"({expr(end)}-{expr(start)})" if start or symbolic(start) else expr(end)
    return (f"(({count}+{expr(step)}-1)//{expr(step)})" if step > 1 or symbolic(step) else count,)


def _symbolic_shape(t: torch.Tensor, shape: torch.Size) -> torch.Size:
    dims = getattr(t, "_dims", None)
    if dims is None or len(dims) != len(shape):
        return shape
    return torch.Size(tuple(n if d is None or d.isdigit() else Sym(n, d) for n, d in zip(shape, dims)))


def _sources(args: tuple, kwargs: dict) -> list[torch.Tensor]:
    out = []
    for a in list(args) + list(kwargs.values()):
        for t in a if isinstance(a, (list, tuple)) else [a]:
            if isinstance(t, torch.Tensor):
                out.append(t)
    return out


def _carry(name: str, args: tuple, kwargs: dict, out: Any) -> None:
    """Takes dims and sources over to the result of an operation, as far as they can be known."""
    sources = _sources(args, kwargs)
    if not sources:
        return
    made_of = frozenset().union(*[getattr(t, "_src", ()) for t in sources])
    known = [t for t in sources if getattr(t, "_dims", None) is not None]
    for t in out if isinstance(out, (list, tuple)) else [out]:
        if not isinstance(t, torch.Tensor):
            continue
        if made_of and not hasattr(t, "_src"):
            t._src = made_of
        if known and not hasattr(t, "_dims"):
            dims = _dims(name, args, kwargs, known, t)
            if dims is not None:
                t._dims = tuple(dims)


def _dims(name: str, args: tuple, kwargs: dict, sources: list[torch.Tensor], t: torch.Tensor) -> list | None:
    s = sources[0]
    if name in ("view", "reshape", "expand", "broadcast_to"):
        size = args[1:] or (kwargs.get("size") or kwargs.get("shape"),)
        if len(size) == 1 and isinstance(size[0], (tuple, list)):
            size = size[0]
        if len(size) == t.dim():
            return [expr(d) if int(d) >= 0 else (s._dims[n - t.dim() + s.dim()] if n - t.dim() + s.dim() >= 0 and s.shape[n - t.dim() + s.dim()] == t.shape[n] else None) for n, d in enumerate(size)]
    if name in ("transpose", "t", "swapaxes") and t.dim() == s.dim():
        a = [int(x) for x in args[1:]] + [kwargs[k] for k in ("dim0", "dim1") if k in kwargs] or [0, 1]
        dims = list(s._dims)
        dims[a[0]], dims[a[1]] = dims[a[1]], dims[a[0]]
        return dims
    if name == "permute":
        order = args[1] if isinstance(args[1], (tuple, list)) else args[1:]
        return [s._dims[n] for n in order]
    if name == "unsqueeze":
        d = (args[1] if len(args) > 1 else kwargs["dim"]) % t.dim()
        return [*s._dims[:d], "1", *s._dims[d:]]
    if name == "stack" and t.dim() == s.dim() + 1:
        return [None if n == 0 else s._dims[n - 1] for n in range(t.dim())]
    if t.dim() == s.dim():
        dims: list = []
        for n, (x, y) in enumerate(zip(s.shape, t.shape)):
            if x == y:
                dims.append(s._dims[n])
            elif name in ("cat", "concat") and len({q.dim() for q in sources}) == 1 and all(q._dims[n] for q in sources):
                dims.append("(" + "+".join(q._dims[n] for q in sources) + ")")
            elif y and x % y == 0 and s._dims[n]:
                dims.append(f"({s._dims[n]}//{x // y})")
            else:
                dims.append(None)
        return dims
    if name in ("squeeze", "unbind", "select") and t.dim() == s.dim() - 1:
        d = kwargs.get("dim", args[1] if len(args) > 1 else 0)
        return [x for n, x in enumerate(s._dims) if n != d % s.dim()]
    if name in ("flatten", "ravel") and t.dim() == 1 and all(s._dims):
        return ["(" + "*".join(s._dims) + ")"]
    return None


def install() -> None:
    """Makes nn.Parameter keep what its tensor knows, and switches initialisation off: nothing is computed, so nothing need be initialised."""
    plain_new = nn.Parameter.__new__

    def new(cls: type, data: Any = None, requires_grad: bool = True) -> Any:
        p = plain_new(cls, data, requires_grad)
        if getattr(data, "_dims", None) is not None:
            p._dims = data._dims
        return p

    nn.Parameter.__new__ = new
    for module in (nn.Linear, nn.Bilinear, nn.Embedding, nn.LayerNorm, nn.GroupNorm, nn.modules.conv._ConvNd, nn.MultiheadAttention, nn.modules.rnn.RNNBase):
        for f in ("reset_parameters", "_reset_parameters"):
            if hasattr(module, f):
                setattr(module, f, lambda self: None)
    transformers.PreTrainedModel.initialize_weights = lambda self, *a, **k: None
