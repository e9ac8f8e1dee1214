# SPDX-License-Identifier: Apache-2.0
"""decant for Python: decoding with a language model, over decant's C ABI. Needs the standard library only.

    import decant

    for piece in decant.Engine("model.gguf").session().stream("Once"):
        print(piece.text, end="", flush=True)

An `Engine` has a model and decodes many texts at once. A `Session` is one text that grows turn by turn; its streams are
iterated over. `Engine.submit()`, `step()` and `cancel()` are for a host with a loop of its own. What each option means
and costs is said in decant/options.h and decant/generation.h; names and defaults are the same here.

Errors are exceptions: `DecantError`, with a class for each code.

Threads. Everything may be used from any thread, and a call that computes lets other Python threads run. A session and
its streams are used by one thread at a time, the others wait; `Session.cancel()` and `StopSource.request()` never wait.
Objects may be closed at any time: a call that is under way ends first. An interrupt (Ctrl-C) is seen when the call that
computes comes back, with its next piece; the session can be used afterwards.

The library is looked for where `load(path)` says; else in the environment variable DECANT_LIBRARY (which is read here,
and never by the library itself), beside this file, and where the system looks for libraries.
"""

from __future__ import annotations

import array
import ctypes
import ctypes.util
import dataclasses
import enum
import os
import pathlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar, Union, cast

__all__ = [
    "Admission", "BadFormat", "CacheFull", "CacheStats", "Cancelled", "Completion", "DecantError", "Engine", "Finish",
    "Flow", "Generation", "GenerationDefaults", "Internal", "InvalidArgument", "IoError", "KvType", "LapProfile",
    "LoadTimes", "LogLevel", "LogitRows", "MemoryStats", "Mismatch", "Model", "ModelInfo", "NonFinite", "Numerics",
    "OpProfile", "OutOfMemory", "OverLimit", "Piece", "PrefixMiss", "Sampling", "SequenceInfo", "SequenceOptions",
    "Session", "Status", "StepProfile", "StepReport", "StopSource", "Stream", "ThreadProfile", "TokenTiming",
    "Unsupported", "Usage", "isas", "load", "version",
]  # fmt: skip

Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
Prompt = Union[str, Sequence[int]]  # text, or token ids


_T = TypeVar("_T")


# Numbers with names


class _Named(enum.IntEnum):
    """Numbers of the C ABI. One that a later library may add becomes UNKNOWN."""

    @classmethod
    def _missing_(cls, value: object) -> _Named | None:
        return cls.__members__.get("UNKNOWN")


class Status(_Named):
    """What went wrong."""

    UNKNOWN = -1
    OK = 0
    INVALID_ARGUMENT = 1
    IO = 2
    BAD_FORMAT = 3
    UNSUPPORTED = 4
    OUT_OF_MEMORY = 5
    CACHE_FULL = 6
    CANCELLED = 7
    NON_FINITE = 8
    INTERNAL = 9
    MISMATCH = 10
    OVER_LIMIT = 11


class Finish(_Named):
    """Why a generation has ended; NONE while it goes on."""

    UNKNOWN = -1
    NONE = 0
    STOP = 1
    LENGTH = 2
    CANCELLED = 3
    ERROR = 4
    STOP_STRING = 5
    DEADLINE = 6


class Flow(_Named):
    """What a callback answers to a piece. Answering None goes on, too."""

    GO_ON = 0
    STOP = 1
    CANCEL = 2


class LogLevel(_Named):
    UNKNOWN = -1
    TRACE = 0
    DEBUG = 1
    INFO = 2
    WARN = 3
    ERROR = 4


class Numerics(_Named):
    """How exact the arithmetic is."""

    UNKNOWN = -1
    EXACT = 0
    REFERENCE = 1
    FAST = 2


class KvType(_Named):
    """Element types of the KV cache."""

    F32 = 0
    F16 = 1
    BF16 = 2
    Q8 = 3
    Q4 = 4
    Q4_PLAIN = 5


class PrefixMiss(_Named):
    """Why a prompt, or the rest of it, was not known already."""

    UNKNOWN_NUMBER = -1
    NONE = 0
    OFF = 1
    UNKNOWN = 2
    DIVERGED = 3
    EVICTED = 4
    WINDOW = 5
    NO_MEMORY = 6


# Errors


class DecantError(Exception):
    """What a call answers that failed: the class says what to do about it, `message` what it was about."""

    status: ClassVar[Status] = Status.UNKNOWN

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidArgument(DecantError, ValueError):
    """The call itself is wrong: an id out of range, an option outside its limits, something closed."""

    status = Status.INVALID_ARGUMENT


class IoError(DecantError, OSError):
    """The operating system refused: a file is missing, unreadable, the disk is full."""

    status = Status.IO


class BadFormat(DecantError, ValueError):
    """A file contradicts itself or its format: truncated, corrupt."""

    status = Status.BAD_FORMAT


class Unsupported(DecantError, NotImplementedError):
    """Well-formed, but decant (or this CPU) lacks it."""

    status = Status.UNSUPPORTED


class OutOfMemory(DecantError, MemoryError):
    """The allocator or the operating system has no memory."""

    status = Status.OUT_OF_MEMORY


class CacheFull(DecantError):
    """The KV cache has reached its limit: wait for sequences to finish, then retry."""

    status = Status.CACHE_FULL


class Cancelled(DecantError):
    """The caller asked to stop."""

    status = Status.CANCELLED


class NonFinite(DecantError, ArithmeticError):
    """A NaN or an infinity appeared; the message names the layer."""

    status = Status.NON_FINITE


class Internal(DecantError, RuntimeError):
    """A mistake of decant's own."""

    status = Status.INTERNAL


class Mismatch(DecantError, ValueError):
    """A file is well-formed, but made for another model, layout or numerics."""

    status = Status.MISMATCH


class OverLimit(DecantError, MemoryError):
    """More memory than the limit that was set, however long one waits."""

    status = Status.OVER_LIMIT


_ERRORS: Mapping[Status, type[DecantError]] = {
    error.status: error
    for error in (
        InvalidArgument, IoError, BadFormat, Unsupported, OutOfMemory, CacheFull, Cancelled, NonFinite, Internal,
        Mismatch, OverLimit,
    )  # fmt: skip
}


# The structs of decant/c_api.h, field by field

_size, _int, _long, _float, _void = ctypes.c_size_t, ctypes.c_int32, ctypes.c_int64, ctypes.c_float, ctypes.c_void_p
_chars = ctypes.c_char_p
_ints = ctypes.POINTER(_int)


class _Struct(ctypes.Structure):
    def values(self, cls: type) -> dict[str, Any]:
        """Those of its fields that a dataclass has."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(cls)}


class _Error(_Struct):
    _fields_ = [("code", _int), ("message", ctypes.c_char * 1020)]


class _Text(_Struct):
    _fields_ = [("data", _chars), ("size_bytes", _size)]


class _OpProfile(_Struct):
    _fields_ = [("struct_size", _size), ("op", _int), ("layer", _int), ("begin_ns", _long), ("end_ns", _long),
                ("wait_ns", _long), ("bytes", _size)]  # fmt: skip


class _LapProfile(_Struct):
    _fields_ = [("struct_size", _size), ("op", _int), ("n_pieces", _int), ("begin_ns", _long), ("end_ns", _long)]


class _ThreadProfile(_Struct):
    _fields_ = [("struct_size", _size), ("busy_ns", _long), ("laps", ctypes.POINTER(ctypes.POINTER(_LapProfile))),
                ("n_laps", _size)]  # fmt: skip


class _TokenTiming(_Struct):
    _fields_ = [("struct_size", _size), ("sequence", _long), ("latency_ns", _long), ("first", _int),
                ("reserved", _int)]  # fmt: skip


class _StepProfile(_Struct):
    _fields_ = [("struct_size", _size), ("begin_ns", _long), ("elapsed_ns", _long), ("n_prefill_tokens", _int),
                ("n_decode_tokens", _int), ("bytes", _size), ("ops", ctypes.POINTER(ctypes.POINTER(_OpProfile))),
                ("n_ops", _size), ("threads", ctypes.POINTER(ctypes.POINTER(_ThreadProfile))), ("n_threads", _size),
                ("tokens", ctypes.POINTER(ctypes.POINTER(_TokenTiming))), ("n_tokens", _size),
                ("n_page_faults", _long), ("n_major_page_faults", _long), ("n_context_switches", _long),
                ("n_involuntary_switches", _long)]  # fmt: skip


_LogCallback = ctypes.CFUNCTYPE(None, _void, _int, _void, _size)
_StepCallback = ctypes.CFUNCTYPE(None, _void, ctypes.POINTER(_StepProfile))
_ProgressCallback = ctypes.CFUNCTYPE(None, _void, _size, _size)


class _ModelOptions(_Struct):
    _fields_ = [("struct_size", _size), ("numerics", _int), ("n_threads", _int), ("map_packed", _int),
                ("reserved", _int), ("memory_limit_bytes", _size), ("timeout_ms", _long), ("stop", _void),
                ("progress", _ProgressCallback), ("progress_user", _void), ("log", _LogCallback),
                ("log_user", _void)]  # fmt: skip


class _ModelInfo(_Struct):
    _fields_ = [("struct_size", _size), ("path", _chars), ("format", _chars), ("architecture", _chars),
                ("name", _chars), ("fingerprint", _chars), ("n_layers", _int), ("d_model", _int), ("d_ff", _int),
                ("n_heads", _int), ("n_kv_heads", _int), ("head_dim", _int), ("vocab_size", _int), ("n_ctx", _int),
                ("window", _int), ("tied_head", _int), ("has_chat_template", _int), ("has_tokenizer", _int),
                ("tokenizer_vocab_size", _int), ("numerics", _int), ("n_params", _long), ("file_bytes", _size),
                ("packed_bytes", _size), ("end_ids", _ints), ("n_end_ids", _size)]  # fmt: skip


class _GenerationDefaults(_Struct):
    _fields_ = [("struct_size", _size), ("do_sample", _int), ("temperature", _float), ("top_p", _float),
                ("min_p", _float), ("typical_p", _float), ("repetition_penalty", _float), ("top_k", _int),
                ("no_repeat_ngram_size", _int)]  # fmt: skip


class _LoadTimes(_Struct):
    _fields_ = [("struct_size", _size), ("metadata_ns", _long), ("tokenizer_ns", _long), ("weights_ns", _long),
                ("n_threads", _int), ("mapped", _int)]  # fmt: skip


class _EngineOptions(_Struct):
    _fields_ = [("struct_size", _size), ("isa", _chars), ("n_threads", _int), ("pin_threads", _int), ("n_ctx", _int),
                ("max_sequences", _int), ("max_step_tokens", _int), ("prefill_chunk", _int), ("step_target_ms", _int),
                ("max_logit_rows", _int), ("cache_k_type", _int), ("cache_v_type", _int),
                ("cache_block_tokens", _int), ("cache_rollback_tokens", _int), ("cache_limit_bytes", _size),
                ("cache_prefix_bytes", _size), ("memory_limit_bytes", _size), ("on_step", _StepCallback),
                ("on_step_user", _void), ("log", _LogCallback), ("log_user", _void)]  # fmt: skip


class _EngineInfo(_Struct):
    _fields_ = [("struct_size", _size), ("isa", _chars), ("n_ctx", _int), ("n_threads", _int), ("n_sequences", _int),
                ("reserved", _int)]  # fmt: skip


class _MemoryStats(_Struct):
    _fields_ = [("struct_size", _size), ("weights_bytes", _size), ("activation_bytes", _size),
                ("attention_bytes", _size), ("logits_bytes", _size), ("sampler_bytes", _size),
                ("tokenizer_bytes", _size), ("sequence_bytes", _size), ("cache_bytes", _size), ("limit_bytes", _size),
                ("total_bytes", _size)]  # fmt: skip


class _CacheStats(_Struct):
    _fields_ = [("struct_size", _size), ("limit_bytes", _size), ("reserved_bytes", _size), ("used_bytes", _size),
                ("unique_bytes", _size), ("shared_bytes", _size), ("prefix_bytes", _size), ("free_bytes", _size),
                ("sink_bytes", _size), ("table_bytes", _size), ("n_blocks_used", _long), ("n_blocks_shared", _long),
                ("n_blocks_free", _long), ("n_sequences", _long), ("n_tokens", _long), ("n_prefix_nodes", _long),
                ("n_prefix_tokens", _long), ("n_prefix_lookups", _long), ("n_prefix_hits", _long),
                ("n_prefix_hit_tokens", _long), ("n_prefix_asked_tokens", _long),
                ("n_prefix_evicted_blocks", _long)]  # fmt: skip


class _SamplingParams(_Struct):
    _fields_ = [("struct_size", _size), ("temperature", _float), ("top_k", _int), ("top_p", _float),
                ("min_p", _float), ("typical_p", _float), ("epsilon_cutoff", _float), ("eta_cutoff", _float),
                ("repetition_penalty", _float), ("seed", ctypes.c_uint64), ("no_repeat_ngram_size", _int),
                ("reserved", _int)]  # fmt: skip


class _GenerationOptions(_Struct):
    _fields_ = [("struct_size", _size), ("sampling", ctypes.POINTER(_SamplingParams)), ("max_new_tokens", _int),
                ("ignore_end", _int), ("stop_strings", ctypes.POINTER(_Text)), ("n_stop_strings", _size),
                ("top_logprobs", _int), ("priority", _int), ("stop", _void), ("timeout_ms", _long)]  # fmt: skip


class _SequenceOptions(_Struct):
    _fields_ = [("struct_size", _size), ("share_prefix", _int), ("prefix_priority", _int), ("prefix_salt", _chars),
                ("n_prefix_salt_bytes", _size), ("recent_window", _int), ("n_sinks", _int)]  # fmt: skip


class _TokenLogprob(_Struct):
    _fields_ = [("token_id", _int), ("logprob", _float)]


class _Usage(_Struct):
    _fields_ = [("struct_size", _size), ("n_prompt_tokens", _int), ("n_cached_tokens", _int),
                ("n_generated_tokens", _int), ("reserved", _int), ("first_token_ns", _long),
                ("last_token_ns", _long)]  # fmt: skip


class _Piece(_Struct):
    _fields_ = [("struct_size", _size), ("sequence", _long), ("token_id", _int), ("logprob", _float),
                ("finish", _int), ("is_special", _int), ("is_end", _int), ("reserved", _int), ("text", _void),
                ("n_text_bytes", _size), ("bytes", _void), ("n_bytes", _size),
                ("top_logprobs", ctypes.POINTER(_TokenLogprob)), ("n_top_logprobs", _size),
                ("usage", ctypes.POINTER(_Usage))]  # fmt: skip


_PieceCallback = ctypes.CFUNCTYPE(_int, _void, ctypes.POINTER(_Piece))


class _Completion(_Struct):
    _fields_ = [("struct_size", _size), ("text", _void), ("n_text_bytes", _size), ("ids", _ints), ("n_ids", _size),
                ("usage", ctypes.POINTER(_Usage)), ("finish", _int), ("reserved", _int)]  # fmt: skip


class _Request(_Struct):
    _fields_ = [("struct_size", _size), ("prompt", _ints), ("n_prompt", _size), ("prompt_text", _chars),
                ("n_prompt_text_bytes", _size), ("generation", ctypes.POINTER(_GenerationOptions)),
                ("sequence", ctypes.POINTER(_SequenceOptions)), ("all_logits", _int), ("keep", _int),
                ("detokenize", _int), ("reserved", _int)]  # fmt: skip


class _Admission(_Struct):
    _fields_ = [("struct_size", _size), ("needed_bytes", _size), ("available_bytes", _size), ("fits", _int),
                ("reserved", _int)]  # fmt: skip


class _LogitRows(_Struct):
    _fields_ = [("struct_size", _size), ("sequence", _long), ("first_pos", _int), ("n_rows", _int),
                ("logits", ctypes.POINTER(_float)), ("row_stride", _size)]  # fmt: skip


class _StepReport(_Struct):
    _fields_ = [("struct_size", _size), ("pieces", ctypes.POINTER(ctypes.POINTER(_Piece))), ("n_pieces", _size),
                ("logits", ctypes.POINTER(ctypes.POINTER(_LogitRows))), ("n_logits", _size),
                ("n_prefill_tokens", _int), ("n_decode_tokens", _int), ("elapsed_ns", _long), ("forward_ns", _long),
                ("sample_ns", _long), ("idle", _int), ("reserved", _int)]  # fmt: skip


class _SequenceInfo(_Struct):
    _fields_ = [("struct_size", _size), ("n_tokens", _int), ("n_computed", _int), ("paused", _int),
                ("n_prefix_tokens", _int), ("n_prefix_known", _int), ("prefix_miss", _int)]  # fmt: skip


# The functions of decant/c_api.h: what they return, then what they take. "s" is a status with an error at the end.

_to = ctypes.POINTER
_handle = _to(_void)
_FUNCTIONS: Mapping[str, tuple[Any, Sequence[Any]]] = {
    "decant_version_number": (ctypes.c_uint32, []),
    "decant_version_string": (_chars, []),
    "decant_status_name": (_chars, [_int]),
    "decant_stop_source_create": ("s", [_handle]),
    "decant_stop_source_request": (None, [_void]),
    "decant_stop_source_requested": (_int, [_void]),
    "decant_stop_source_free": (None, [_handle]),
    "decant_op_name": (_chars, [_int]),
    "decant_model_options_init": (_int, [_to(_ModelOptions), _size]),
    "decant_model_open": ("s", [_chars, _to(_ModelOptions), _handle]),
    "decant_model_free": (None, [_handle]),
    "decant_model_get_info": ("s", [_void, _to(_ModelInfo), _size]),
    "decant_model_get_generation_defaults": ("s", [_void, _to(_GenerationDefaults), _size]),
    "decant_model_get_load_times": ("s", [_void, _to(_LoadTimes), _size]),
    "decant_model_encode": ("s", [_void, _chars, _size, _int, _ints, _size, _to(_size)]),
    "decant_model_decode": ("s", [_void, _ints, _size, _int, _void, _size, _to(_size)]),
    "decant_model_token_bytes": ("s", [_void, _int, _void, _size, _to(_size)]),
    "decant_model_token_entry": ("s", [_void, _int, _void, _size, _to(_size)]),
    "decant_model_token_id": ("s", [_void, _chars, _size, _ints]),
    "decant_model_token_is_special": ("s", [_void, _int, _ints]),
    "decant_engine_options_init": (_int, [_to(_EngineOptions), _size]),
    "decant_engine_open": ("s", [_chars, _to(_EngineOptions), _to(_ModelOptions), _handle]),
    "decant_engine_create": ("s", [_void, _to(_EngineOptions), _handle]),
    "decant_engine_free": (None, [_handle]),
    "decant_engine_get_model": (_void, [_void]),
    "decant_engine_get_info": ("s", [_void, _to(_EngineInfo), _size]),
    "decant_engine_get_memory_stats": ("s", [_void, _to(_MemoryStats), _size]),
    "decant_engine_get_cache_stats": ("s", [_void, _to(_CacheStats), _size]),
    "decant_engine_cache_bytes_needed": ("s", [_void, _int, _to(_size)]),
    "decant_engine_save_prefixes": ("s", [_void, _chars]),
    "decant_engine_restore_prefixes": ("s", [_void, _chars, _to(_long)]),
    "decant_engine_forget_prefixes": ("s", [_void, _chars, _size]),
    "decant_sampling_params_init": (_int, [_to(_SamplingParams), _size]),
    "decant_generation_options_init": (_int, [_to(_GenerationOptions), _size]),
    "decant_sequence_options_init": (_int, [_to(_SequenceOptions), _size]),
    "decant_finish_name": (_chars, [_int]),
    "decant_completion_free": (None, [_to(_to(_Completion))]),
    "decant_engine_session": ("s", [_void, _to(_SequenceOptions), _handle]),
    "decant_engine_restore_session": ("s", [_void, _chars, _handle]),
    "decant_session_free": (None, [_handle]),
    "decant_session_stream": ("s", [_void, _chars, _size, _to(_GenerationOptions), _handle]),
    "decant_session_stream_ids": ("s", [_void, _ints, _size, _to(_GenerationOptions), _handle]),
    "decant_stream_next": ("s", [_void, _to(_to(_Piece))]),
    "decant_stream_finish": (_int, [_void]),
    "decant_stream_get_usage": ("s", [_void, _to(_Usage), _size]),
    "decant_stream_free": (None, [_handle]),
    "decant_session_generate": (
        "s", [_void, _chars, _size, _to(_GenerationOptions), _PieceCallback, _void, _to(_to(_Completion))]),
    "decant_session_generate_ids": (
        "s", [_void, _ints, _size, _to(_GenerationOptions), _PieceCallback, _void, _to(_to(_Completion))]),
    "decant_session_fork": ("s", [_void, _handle]),
    "decant_session_truncate": ("s", [_void, _int]),
    "decant_session_save": ("s", [_void, _chars]),
    "decant_session_cancel": (None, [_void]),
    "decant_session_n_tokens": (_int, [_void]),
    "decant_session_ids": ("s", [_void, _ints, _size, _to(_size)]),
    "decant_request_init": (_int, [_to(_Request), _size]),
    "decant_engine_admit": ("s", [_void, _to(_Request), _to(_Admission), _size]),
    "decant_engine_submit": ("s", [_void, _to(_Request), _to(_long)]),
    "decant_engine_step": ("s", [_void, _void, _to(_to(_StepReport))]),
    "decant_engine_cancel": ("s", [_void, _long]),
    "decant_engine_fork": ("s", [_void, _long, _to(_SamplingParams), _to(_long)]),
    "decant_engine_truncate": ("s", [_void, _long, _int]),
    "decant_engine_remove": ("s", [_void, _long, _int, _int]),
    "decant_engine_extend": ("s", [_void, _long, _ints, _size, _int]),
    "decant_engine_extend_with": ("s", [_void, _long, _ints, _size, _to(_GenerationOptions)]),
    "decant_engine_set_sampling": ("s", [_void, _long, _to(_SamplingParams)]),
    "decant_engine_get_sampling": ("s", [_void, _long, _to(_SamplingParams), _size]),
    "decant_prefix_miss_name": (_chars, [_int]),
    "decant_engine_get_sequence_info": ("s", [_void, _long, _to(_SequenceInfo), _size]),
    "decant_engine_sequence_ids": ("s", [_void, _long, _ints, _size, _to(_size)]),
    "decant_engine_save": ("s", [_void, _long, _chars]),
    "decant_engine_restore": ("s", [_void, _chars, _to(_long)]),
    "decant_isa_name": (_chars, [_size]),
    "decant_n_isas": (_size, []),
}  # fmt: skip

_MAJOR, _MINOR = 0, 1  # of the C ABI that this file was written for


class _Library:
    """The loaded library, with the types of its functions."""

    def __init__(self, path: str) -> None:
        self._dll = ctypes.CDLL(path)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(self._dll, name)
            function.restype = _int if result == "s" else result
            function.argtypes = [*arguments, _to(_Error)] if result == "s" else arguments
        number = self._dll.decant_version_number()
        if number // 100 != _MAJOR * 100 + _MINOR:
            found = self._dll.decant_version_string().decode()
            raise ImportError(f"{path} is decant {found}, this file is for {_MAJOR}.{_MINOR}")

    def plain(self, name: str, *arguments: Any) -> Any:
        """A function that can't fail."""
        return getattr(self._dll, name)(*arguments)

    def call(self, name: str, *arguments: Any) -> None:
        """A function that answers a status: raises what it says."""
        error = _Error()
        status = getattr(self._dll, name)(*arguments, ctypes.byref(error))
        if status != 0:
            raise _ERRORS.get(Status(status), DecantError)(error.message.decode("utf-8", "replace"))


_loaded: _Library | None = None
_loading = threading.Lock()


def _candidates() -> Iterator[str]:
    said = os.environ.get("DECANT_LIBRARY")
    if said:
        yield said  # and nothing else: a wish that can't be granted is an error
        return
    here = pathlib.Path(__file__).resolve().parent
    yield from (str(path) for path in sorted(here.glob("libdecant.so*")))
    found = ctypes.util.find_library("decant")
    if found:
        yield found
    yield from (f"libdecant.so.{_MAJOR}.{_MINOR}", f"libdecant.so.{_MAJOR}", "libdecant.so")


def load(path: Path | None = None) -> None:
    """Loads the library, from a file or from where it is found: see the top. Needed only to name the file. ImportError
    where there is none, it is of another version, or another one has been loaded already."""
    global _loaded
    with _loading:
        if path is not None:
            if _loaded is not None:
                raise ImportError("decant's library has been loaded already")
            try:
                _loaded = _Library(os.fsdecode(path))
            except (OSError, AttributeError) as error:
                raise ImportError(f"decant's library: {error}") from error
            return
        if _loaded is not None:
            return
        reasons = []
        for candidate in _candidates():
            try:
                _loaded = _Library(candidate)
                return
            except (OSError, AttributeError) as error:
                reasons.append(str(error))
        raise ImportError(
            "decant's library isn't found: say where with decant.load(path) or DECANT_LIBRARY. " + "; ".join(reasons)
        )


def _library() -> _Library:
    if _loaded is None:
        load()
    assert _loaded is not None
    return _loaded


def version() -> str:
    """The library's, e.g. "0.1.0"."""
    return cast(bytes, _library().plain("decant_version_string")).decode()


def isas() -> list[str]:
    """Kernel tables that this CPU can run, the best last."""
    library = _library()
    return [library.plain("decant_isa_name", i).decode() for i in range(library.plain("decant_n_isas"))]


class _Handle:
    """Owns a handle of the library's. Who makes a call holds a reference, so that nothing is freed under it."""

    def __init__(self, library: _Library, kind: str, *keep: Any) -> None:
        self.library = library
        self.pointer = ctypes.c_void_p()
        self.keep = keep  # callbacks and handles that the library may still use
        self._free = f"decant_{kind}_free"
        self._byref = ctypes.byref  # still there when the interpreter ends

    def __del__(self) -> None:
        self.library.plain(self._free, self._byref(self.pointer))


class _Closable:
    """A handle's owner, to be closed or used with `with`. A context's end closes it."""

    _it: _Handle | None = None

    @property
    def _handle(self) -> _Handle:
        if self._it is None:
            raise InvalidArgument(f"the {type(self).__name__} is closed")
        return self._it

    @property
    def closed(self) -> bool:
        return self._it is None

    def close(self) -> None:
        """Gives back what it has, once a call that is under way has ended. May be called again."""
        self._it = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _call(handle: _Handle, name: str, *arguments: Any) -> None:
    handle.library.call(name, handle.pointer, *arguments)


def _filled(handle: _Handle, name: str, struct: type[_Struct], *arguments: Any) -> Any:
    """A struct that the library fills in."""
    out = struct()
    _call(handle, name, *arguments, ctypes.byref(out), ctypes.sizeof(out))
    return out


def _id_array(ids: Sequence[int]) -> Any:
    """int32 in C. ValueError for what is no int32: ctypes would cut it to 32 bits without a word."""
    try:
        values = array.array("i", ids)
    except (OverflowError, TypeError) as error:
        raise InvalidArgument(f"token ids: {error}") from error
    return (_int * len(values)).from_buffer(values) if len(values) > 0 else (_int * 0)()


def _int32(value: int, name: str) -> int:
    if not -(2**31) <= value < 2**31:
        raise InvalidArgument(f"{name} is {value}, which no 32 bits hold")
    return value


def _sequence(sequence: int) -> int:
    """As it is, if 64 bits hold it: ctypes would cut it to those without a word."""
    if not -(2**63) <= sequence < 2**63:
        raise InvalidArgument(f"there is no sequence {sequence}")
    return sequence


def _size_t(value: int, name: str) -> int:
    if not 0 <= value < 2**63:
        raise InvalidArgument(f"{name} is {value}")
    return value


def _path(path: Path) -> bytes:
    raw = os.fsencode(path)
    if b"\0" in raw:
        raise InvalidArgument("a path has a NUL")
    return raw


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _read_ids(handle: _Handle, name: str, *arguments: Any) -> list[int]:
    n = ctypes.c_size_t()
    _call(handle, name, *arguments, None, 0, ctypes.byref(n))
    buffer = (_int * n.value)()
    _call(handle, name, *arguments, buffer, n.value, ctypes.byref(n))
    return buffer[: n.value]


def _read_bytes(handle: _Handle, name: str, *arguments: Any) -> bytes:
    n = ctypes.c_size_t()
    _call(handle, name, *arguments, None, 0, ctypes.byref(n))
    buffer = ctypes.create_string_buffer(n.value + 1)
    _call(handle, name, *arguments, buffer, n.value + 1, ctypes.byref(n))
    return buffer.raw[: n.value]


def _timeout_ms(seconds: float | None) -> int:
    if seconds is None:
        return -1
    if not seconds >= 0:
        raise InvalidArgument(f"timeout is {seconds}")
    return int(min(seconds * 1000, 2.0**62))


# What goes in


class StopSource(_Closable):
    """A switch that stops what it was given to: loading, generations, steps. From any thread; it stays switched."""

    def __init__(self) -> None:
        library = _library()
        handle = _Handle(library, "stop_source")
        library.call("decant_stop_source_create", ctypes.byref(handle.pointer))
        self._it = handle

    def request(self) -> None:
        """Stops them, and doesn't wait for it."""
        handle = self._handle
        handle.library.plain("decant_stop_source_request", handle.pointer)

    @property
    def requested(self) -> bool:
        handle = self._handle
        return bool(handle.library.plain("decant_stop_source_requested", handle.pointer))


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: decant::SamplingParams. Defaults switch everything off; temperature 0 is greedy."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    epsilon_cutoff: float = 0.0
    eta_cutoff: float = 0.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    seed: int = 0

    def _to_c(self, library: _Library) -> _SamplingParams:
        out = _SamplingParams()
        library.plain("decant_sampling_params_init", ctypes.byref(out), ctypes.sizeof(out))
        if not 0 <= self.seed < 2**64:
            raise InvalidArgument(f"seed is {self.seed}, which no 64 bits hold")
        for name, value in vars(self).items():
            setattr(out, name, _int32(value, name) if name in ("top_k", "no_repeat_ngram_size") else value)
        return out


@dataclasses.dataclass(frozen=True)
class Generation:
    """How a text goes on: decant::GenerationOptions. `timeout` is in seconds, from the call on."""

    sampling: Sampling = Sampling()
    max_new_tokens: int = -1
    ignore_end: bool = False
    stop_strings: Sequence[str] = ()
    top_logprobs: int = 0
    priority: int = 0
    stop: StopSource | None = None
    timeout: float | None = None

    def _changed(self, changes: Mapping[str, Any]) -> Generation:
        """With some of its fields, or of its sampling's, replaced."""
        sampled = {name: value for name, value in changes.items() if name in Sampling.__dataclass_fields__}
        others = {name: value for name, value in changes.items() if name not in sampled}
        if sampled:
            others["sampling"] = dataclasses.replace(others.get("sampling", self.sampling), **sampled)
        return dataclasses.replace(self, **others) if others else self

    def _to_c(self, library: _Library) -> tuple[_GenerationOptions, Any]:
        """And what must live until the call has returned."""
        out = _GenerationOptions()
        library.plain("decant_generation_options_init", ctypes.byref(out), ctypes.sizeof(out))
        sampling = self.sampling._to_c(library)
        strings = [self.stop_strings] if isinstance(self.stop_strings, str) else list(self.stop_strings)
        raw = [_utf8(string) for string in strings]
        texts = (_Text * len(raw))(*(_Text(text, len(text)) for text in raw))
        stop = self.stop._handle if self.stop is not None else None
        out.sampling = ctypes.pointer(sampling)
        out.max_new_tokens = _int32(self.max_new_tokens, "max_new_tokens")
        out.ignore_end = int(self.ignore_end)
        if raw:
            out.stop_strings, out.n_stop_strings = texts, len(raw)
        out.top_logprobs = _int32(self.top_logprobs, "top_logprobs")
        out.priority = _int32(self.priority, "priority")
        out.stop = stop.pointer if stop is not None else None
        out.timeout_ms = _timeout_ms(self.timeout)
        return out, (sampling, raw, texts, stop)


@dataclasses.dataclass(frozen=True)
class SequenceOptions:
    """What a text is for as long as it lives: decant::SequenceOptions."""

    share_prefix: bool = True
    prefix_salt: str = ""
    prefix_priority: int = 0
    recent_window: int = 0
    n_sinks: int = 4

    def _to_c(self, library: _Library) -> _SequenceOptions:
        out = _SequenceOptions()
        library.plain("decant_sequence_options_init", ctypes.byref(out), ctypes.sizeof(out))
        salt = _utf8(self.prefix_salt)
        out.share_prefix = int(self.share_prefix)
        out.prefix_salt, out.n_prefix_salt_bytes = salt, len(salt)  # which ctypes keeps alive
        out.prefix_priority = _int32(self.prefix_priority, "prefix_priority")
        out.recent_window = _int32(self.recent_window, "recent_window")
        out.n_sinks = _int32(self.n_sinks, "n_sinks")
        return out


# What comes out


@dataclasses.dataclass(frozen=True)
class Usage:
    """What a generation has taken; times in nanoseconds since it was submitted, 0: not yet."""

    n_prompt_tokens: int
    n_cached_tokens: int
    n_generated_tokens: int
    first_token_ns: int
    last_token_ns: int


@dataclasses.dataclass(frozen=True)
class Piece:
    """A generated token and the text that it made certain: decant::Piece."""

    sequence: int
    token_id: int  # -1: the sequence ended without a further token
    logprob: float
    finish: Finish  # other than NONE: the last piece of this generation
    text: str  # whole characters, often empty, sometimes of several tokens
    bytes: bytes  # the token's own, which may be a part of a character
    top_logprobs: tuple[tuple[int, float], ...]  # likeliest first
    is_special: bool
    is_end: bool
    usage: Usage


@dataclasses.dataclass(frozen=True)
class Completion:
    """A generation as a whole."""

    text: str
    ids: list[int]
    finish: Finish
    usage: Usage


@dataclasses.dataclass(frozen=True)
class LogitRows:
    """Logits of consecutive positions of one sequence: a row of vocab_size for each."""

    sequence: int
    first_pos: int
    rows: list[array.array[float]]


@dataclasses.dataclass(frozen=True)
class StepReport:
    """What one step did; times in nanoseconds. `idle`: nothing was to be done."""

    pieces: list[Piece]
    logits: list[LogitRows]
    n_prefill_tokens: int
    n_decode_tokens: int
    elapsed_ns: int
    forward_ns: int
    sample_ns: int
    idle: bool


@dataclasses.dataclass(frozen=True)
class Admission:
    """What a request may take at most, beside what there is for it."""

    needed_bytes: int
    available_bytes: int
    fits: bool


@dataclasses.dataclass(frozen=True)
class SequenceInfo:
    """What is known of a sequence that is alive."""

    n_tokens: int
    n_computed: int
    paused: bool
    n_prefix_tokens: int
    n_prefix_known: int
    prefix_miss: PrefixMiss
    sampling: Sampling


@dataclasses.dataclass(frozen=True)
class MemoryStats:
    """Who has an engine's memory: decant::MemoryStats."""

    weights_bytes: int
    activation_bytes: int
    attention_bytes: int
    logits_bytes: int
    sampler_bytes: int
    tokenizer_bytes: int
    sequence_bytes: int
    cache_bytes: int
    limit_bytes: int
    total_bytes: int


@dataclasses.dataclass(frozen=True)
class CacheStats:
    """What the KV cache holds: decant::CacheStats."""

    limit_bytes: int
    reserved_bytes: int
    used_bytes: int
    unique_bytes: int
    shared_bytes: int
    prefix_bytes: int
    free_bytes: int
    sink_bytes: int
    table_bytes: int
    n_blocks_used: int
    n_blocks_shared: int
    n_blocks_free: int
    n_sequences: int
    n_tokens: int
    n_prefix_nodes: int
    n_prefix_tokens: int
    n_prefix_lookups: int
    n_prefix_hits: int
    n_prefix_hit_tokens: int
    n_prefix_asked_tokens: int
    n_prefix_evicted_blocks: int


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What a model is: decant::ModelInfo."""

    path: str
    format: str
    architecture: str
    name: str
    fingerprint: str
    n_layers: int
    d_model: int
    d_ff: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    vocab_size: int
    n_ctx: int
    window: int
    tied_head: bool
    has_chat_template: bool
    has_tokenizer: bool
    tokenizer_vocab_size: int
    numerics: Numerics
    n_params: int
    file_bytes: int
    packed_bytes: int
    end_ids: list[int]


@dataclasses.dataclass(frozen=True)
class GenerationDefaults:
    """What the model's own files ask for; None where they are silent."""

    do_sample: bool | None
    temperature: float | None
    top_p: float | None
    min_p: float | None
    typical_p: float | None
    repetition_penalty: float | None
    top_k: int | None
    no_repeat_ngram_size: int | None


@dataclasses.dataclass(frozen=True)
class LoadTimes:
    """Where the time of opening went, in nanoseconds."""

    metadata_ns: int
    tokenizer_ns: int
    weights_ns: int
    n_threads: int
    mapped: bool


@dataclasses.dataclass(frozen=True)
class OpProfile:
    """One operation of one layer (-1: of none); nanoseconds since the step began."""

    op: str
    layer: int
    begin_ns: int
    end_ns: int
    wait_ns: int
    bytes: int


@dataclasses.dataclass(frozen=True)
class LapProfile:
    """What one thread did of an operation without a break; `op` is an index in StepProfile.ops."""

    op: int
    n_pieces: int
    begin_ns: int
    end_ns: int


@dataclasses.dataclass(frozen=True)
class ThreadProfile:
    busy_ns: int
    laps: list[LapProfile]


@dataclasses.dataclass(frozen=True)
class TokenTiming:
    """A token that a step gave to a sequence."""

    sequence: int
    first: bool
    latency_ns: int


@dataclasses.dataclass(frozen=True)
class StepProfile:
    """One step, as `on_step` is told of it: decant::StepProfile."""

    begin_ns: int
    elapsed_ns: int
    n_prefill_tokens: int
    n_decode_tokens: int
    bytes: int
    ops: list[OpProfile]
    threads: list[ThreadProfile]
    tokens: list[TokenTiming]
    n_page_faults: int
    n_major_page_faults: int
    n_context_switches: int
    n_involuntary_switches: int


LogCallback = Callable[[LogLevel, str], None]
StepCallback = Callable[[StepProfile], None]
ProgressCallback = Callable[[int, int], None]
PieceCallback = Callable[[Piece], Union[Flow, None]]


def _text_at(pointer: int | None, n: int) -> str:
    return ctypes.string_at(pointer, n).decode("utf-8", "replace") if pointer else ""


def _usage(usage: _Usage) -> Usage:
    return Usage(**usage.values(Usage))


def _piece(piece: _Piece) -> Piece:
    return Piece(
        sequence=piece.sequence,
        token_id=piece.token_id,
        logprob=piece.logprob,
        finish=Finish(piece.finish),
        text=_text_at(piece.text, piece.n_text_bytes),
        bytes=ctypes.string_at(piece.bytes, piece.n_bytes),
        top_logprobs=tuple(
            (piece.top_logprobs[i].token_id, piece.top_logprobs[i].logprob) for i in range(piece.n_top_logprobs)
        ),
        is_special=bool(piece.is_special),
        is_end=bool(piece.is_end),
        usage=_usage(piece.usage.contents),
    )


def _step_profile(step: _StepProfile, op_names: Sequence[str]) -> StepProfile:
    ops = [step.ops[i].contents for i in range(step.n_ops)]
    threads = [step.threads[i].contents for i in range(step.n_threads)]
    tokens = [step.tokens[i].contents for i in range(step.n_tokens)]
    values = {name: getattr(step, name) for name, _ in _StepProfile._fields_ if name in StepProfile.__annotations__}
    values["ops"] = [
        OpProfile(op_names[op.op] if 0 <= op.op < len(op_names) else "?", op.layer, op.begin_ns, op.end_ns, op.wait_ns,
                  op.bytes)
        for op in ops
    ]  # fmt: skip
    values["threads"] = [
        ThreadProfile(
            thread.busy_ns, [LapProfile(**thread.laps[i].contents.values(LapProfile)) for i in range(thread.n_laps)]
        )
        for thread in threads
    ]
    values["tokens"] = [TokenTiming(token.sequence, bool(token.first), token.latency_ns) for token in tokens]
    return StepProfile(**values)


def _null(callback: Any) -> Any:
    return callback()


def _c_log(log: LogCallback | None) -> Any:
    if log is None:
        return _null(_LogCallback)
    tell = log

    def told(_user: object, level: int, message: int, n: int) -> None:
        tell(LogLevel(level), _text_at(message, n))

    return _LogCallback(told)


def _c_on_step(on_step: StepCallback | None, library: _Library) -> Any:
    if on_step is None:
        return _null(_StepCallback)
    tell = on_step
    names: list[str] = []
    while (name := library.plain("decant_op_name", len(names)).decode()) != "?":
        names.append(name)

    def told(_user: object, step: Any) -> None:
        tell(_step_profile(step.contents, names))

    return _StepCallback(told)


class _Opening:
    """Options of an opening model. An exception of its progress callback, an interrupt too, stops it and comes out."""

    def __init__(
        self,
        library: _Library,
        numerics: Numerics,
        n_threads: int,
        map_packed: bool,
        memory_limit_bytes: int,
        progress: ProgressCallback | None,
        stop: StopSource | None,
        timeout: float | None,
        log: LogCallback | None,
    ) -> None:
        self._raised: BaseException | None = None
        own_stop = StopSource() if stop is None and progress is not None else None
        switch = stop or own_stop
        self.options = _ModelOptions()
        library.plain("decant_model_options_init", ctypes.byref(self.options), ctypes.sizeof(self.options))

        def told(_user: object, n_done: int, n_total: int) -> None:
            if progress is None or self._raised is not None:
                return
            try:
                progress(n_done, n_total)
            except BaseException as error:  # it would be lost in C
                self._raised = error
                if own_stop is not None:
                    own_stop.request()

        self._log = _c_log(log)
        self._keep = (own_stop, switch._handle if switch is not None else None)
        self.options.numerics = int(numerics)
        self.options.n_threads = _int32(n_threads, "n_threads")
        self.options.map_packed = int(map_packed)
        self.options.memory_limit_bytes = _size_t(memory_limit_bytes, "memory_limit_bytes")
        self.options.timeout_ms = _timeout_ms(timeout)
        self.options.stop = switch._handle.pointer if switch is not None else None
        self.options.progress = _ProgressCallback(told) if progress is not None else _null(_ProgressCallback)
        self.options.log = self._log

    def __enter__(self) -> _Opening:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._raised is not None:
            raise self._raised


# Models


class Model(_Closable):
    """A model in memory. Immutable; engines share it, from any thread."""

    def __init__(
        self,
        path: Path,
        *,
        numerics: Numerics = Numerics.EXACT,
        n_threads: int = 0,
        map_packed: bool = True,
        memory_limit_bytes: int = 0,
        progress: ProgressCallback | None = None,
        stop: StopSource | None = None,
        timeout: float | None = None,
        log: LogCallback | None = None,
    ) -> None:
        """Opens a .gguf file, a directory with config.json and *.safetensors, or a packed file. `progress` is told of
        bytes done and in all; `timeout` is in seconds."""
        library = _library()
        handle = _Handle(library, "model")
        with _Opening(
            library, numerics, n_threads, map_packed, memory_limit_bytes, progress, stop, timeout, log
        ) as opening:
            library.call("decant_model_open", _path(path), ctypes.byref(opening.options), ctypes.byref(handle.pointer))
        self._it = handle

    @classmethod
    def _lent(cls, engine: _Handle) -> Model:
        handle = _Handle(engine.library, "model", engine)
        handle.pointer.value = engine.library.plain("decant_engine_get_model", engine.pointer)
        model = cls.__new__(cls)
        model._it = handle
        return model

    @property
    def info(self) -> ModelInfo:
        handle = self._handle
        info = _filled(handle, "decant_model_get_info", _ModelInfo)
        values = {field.name: getattr(info, field.name) for field in dataclasses.fields(ModelInfo)}
        for name, value in values.items():
            if isinstance(value, bytes):
                values[name] = value.decode("utf-8", "surrogateescape")
            elif name in ("tied_head", "has_chat_template", "has_tokenizer"):
                values[name] = bool(value)
        values["numerics"] = Numerics(info.numerics)
        values["end_ids"] = info.end_ids[: info.n_end_ids] if info.n_end_ids > 0 else []
        return ModelInfo(**values)

    @property
    def generation_defaults(self) -> GenerationDefaults:
        found = _filled(self._handle, "decant_model_get_generation_defaults", _GenerationDefaults)
        values = {name: None if value < 0 else value for name, value in found.values(GenerationDefaults).items()}
        if values["do_sample"] is not None:
            values["do_sample"] = bool(values["do_sample"])
        return GenerationDefaults(**values)

    @property
    def load_times(self) -> LoadTimes:
        values = _filled(self._handle, "decant_model_get_load_times", _LoadTimes).values(LoadTimes)
        values["mapped"] = bool(values["mapped"])
        return LoadTimes(**values)

    def encode(self, text: str, add_special: bool = True) -> list[int]:
        """Ids of a text, with the model's own begin tokens and such, or without."""
        raw = _utf8(text)
        return _read_ids(self._handle, "decant_model_encode", raw, len(raw), int(add_special))

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of some ids; those outside the vocabulary are skipped."""
        values = _id_array(ids)
        raw = _read_bytes(self._handle, "decant_model_decode", values, len(values), int(skip_special))
        return raw.decode("utf-8", "replace")

    def token_bytes(self, id: int) -> bytes:
        """The bytes that a token adds to a text, which may be a part of a character."""
        return _read_bytes(self._handle, "decant_model_token_bytes", _int32(id, "id"))

    def token_entry(self, id: int) -> str:
        """The vocabulary entry as the model's file writes it."""
        return _read_bytes(self._handle, "decant_model_token_entry", _int32(id, "id")).decode("utf-8", "replace")

    def token_id(self, entry: str) -> int | None:
        """The id of a vocabulary entry; None where there is none."""
        raw, id = _utf8(entry), ctypes.c_int32()
        _call(self._handle, "decant_model_token_id", raw, len(raw), ctypes.byref(id))
        return id.value if id.value >= 0 else None

    def is_special(self, id: int) -> bool:
        """Whether text doesn't show it."""
        out = ctypes.c_int32()
        _call(self._handle, "decant_model_token_is_special", _int32(id, "id"), ctypes.byref(out))
        return bool(out.value)


# Sessions


class _OneUser:
    """Lets one thread at a time use a session and its streams, and finds out that a callback uses its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._left: list[_Handle | None] = []  # streams that nobody has any more

    def call(self, handle: _Handle, name: str, *arguments: Any, read: Callable[[], _T]) -> _T:
        """A call, and what is read of what it lends."""
        if self._lock.locked() and self._owner == threading.get_ident():
            raise InvalidArgument("a callback may use any session but the one that called it")
        with self._lock:  # and nothing between: an interrupt must not leave it locked
            self._owner = threading.get_ident()
            try:
                _call(handle, name, *arguments)
                return read()
            finally:
                self._owner = None
                self._left.clear()

    def leave(self, stream: _Handle | None) -> None:
        """Frees a stream now or, where the session is in use, after that: it is a use, too."""
        self._left.append(stream)
        if self._lock.acquire(blocking=False):
            try:
                self._left.clear()
            finally:
                self._lock.release()


def _prompt(prompt: Prompt) -> tuple[str, Any, int]:
    """What a function's name ends with, the prompt in C, and its length."""
    if isinstance(prompt, str):
        raw = _utf8(prompt)
        return "", raw, len(raw)
    ids = _id_array(prompt)
    return "_ids", ids, len(ids)


class Session(_Closable):
    """One text with its keys and values, growing turn by turn: `Engine.session()` makes one. It keeps what it needs of
    its engine, which may be closed before. Used by one thread at a time, but for `cancel()`."""

    def __init__(self, handle: _Handle) -> None:
        self._it = handle
        self._use = _OneUser()

    def stream(self, prompt: Prompt, options: Generation = Generation(), **changes: Any) -> Stream:
        """Adds a prompt, text or ids, and goes on from it: the pieces that come. `changes` are fields of Generation and
        of Sampling: stream("Once", temperature=0, max_new_tokens=50). The first prompt gets the model's own begin
        tokens, if it is text; an empty one goes on from what there is. Ends an earlier stream."""
        handle = self._handle
        given, keep = options._changed(changes)._to_c(handle.library)
        suffix, what, n = _prompt(prompt)
        made = _Handle(handle.library, "stream", *handle.keep)
        stream = self._use.call(
            handle, "decant_session_stream" + suffix, what, n, ctypes.byref(given), ctypes.byref(made.pointer),
            read=lambda: Stream(made, self._use),
        )  # fmt: skip
        del keep
        return stream

    def generate(
        self, prompt: Prompt, options: Generation = Generation(), on_piece: PieceCallback | None = None, **changes: Any
    ) -> Completion:
        """The same to its end. `on_piece` is told of each piece and may answer a Flow; what it raises ends the
        generation as cancelled and comes out of here."""
        handle = self._handle
        given, keep = options._changed(changes)._to_c(handle.library)
        suffix, what, n = _prompt(prompt)
        raised: list[BaseException] = []

        def told(_user: object, piece: Any) -> int:
            try:
                answer = on_piece(_piece(piece.contents)) if on_piece is not None else None
                return int(Flow.GO_ON if answer is None else Flow(answer))
            except BaseException as error:  # it would be lost in C
                raised.append(error)
                return int(Flow.CANCEL)

        callback = _PieceCallback(told)  # without on_piece, too: it is where an interrupt is seen
        out = ctypes.POINTER(_Completion)()

        def read() -> Completion:
            if raised:
                raise raised[0]
            done = out.contents
            return Completion(
                text=_text_at(done.text, done.n_text_bytes),
                ids=done.ids[: done.n_ids] if done.n_ids > 0 else [],
                finish=Finish(done.finish),
                usage=_usage(done.usage.contents),
            )

        try:
            return self._use.call(
                handle, "decant_session_generate" + suffix, what, n, ctypes.byref(given), callback, None,
                ctypes.byref(out), read=read,
            )  # fmt: skip
        except Cancelled:
            if raised:
                raise raised[0] from None
            raise
        finally:
            handle.library.plain("decant_completion_free", ctypes.byref(out))
            del keep

    def fork(self) -> Session:
        """A second session with the same text, at no cost in memory until they part. Ends a stream."""
        handle = self._handle
        made = _Handle(handle.library, "session", *handle.keep)
        return self._use.call(handle, "decant_session_fork", ctypes.byref(made.pointer), read=lambda: Session(made))

    def truncate(self, n_tokens: int) -> None:
        """Keeps the first n_tokens. Ends a stream."""
        self._use.call(
            self._handle, "decant_session_truncate", _int32(n_tokens, "n_tokens"), read=lambda: None
        )

    def save(self, path: Path) -> None:
        """Writes text and cache to a file, for `Engine.restore_session()`. Ends a stream."""
        self._use.call(self._handle, "decant_session_save", _path(path), read=lambda: None)

    def cancel(self) -> None:
        """Ends the stream that is going on, within a layer, or with the step that others share. From any thread;
        nothing happens where none is."""
        handle = self._handle
        handle.library.plain("decant_session_cancel", handle.pointer)

    @property
    def n_tokens(self) -> int:
        """Tokens delivered so far, prompts included."""
        handle, n = self._handle, ctypes.c_size_t()
        return self._use.call(
            handle, "decant_session_ids", None, 0, ctypes.byref(n),
            read=lambda: cast(int, handle.library.plain("decant_session_n_tokens", handle.pointer)),
        )  # fmt: skip

    @property
    def ids(self) -> list[int]:
        """All of them; of an endless text, those that are still known."""
        handle, n = self._handle, ctypes.c_size_t()

        def read() -> list[int]:
            buffer = (_int * n.value)()
            _call(handle, "decant_session_ids", buffer, n.value, ctypes.byref(n))
            return buffer[: n.value]

        return self._use.call(handle, "decant_session_ids", None, 0, ctypes.byref(n), read=read)


class Stream(_Closable):
    """The pieces of one turn: an iterator, and a context that ends the turn. The session is at the last piece then."""

    def __init__(self, handle: _Handle, use: _OneUser) -> None:
        self._it = handle
        self._use = use

    def __del__(self) -> None:
        self.close()

    def __iter__(self) -> Iterator[Piece]:
        return self

    def __next__(self) -> Piece:
        handle = self._it
        if handle is None:
            raise StopIteration
        out = ctypes.POINTER(_Piece)()
        piece = self._use.call(
            handle, "decant_stream_next", ctypes.byref(out), read=lambda: _piece(out.contents) if out else None
        )
        if piece is None:
            raise StopIteration
        return piece

    @property
    def finish(self) -> Finish:
        """NONE while it goes on."""
        handle, usage = self._handle, _Usage()
        return self._use.call(
            handle, "decant_stream_get_usage", ctypes.byref(usage), ctypes.sizeof(usage),
            read=lambda: Finish(handle.library.plain("decant_stream_finish", handle.pointer)),
        )  # fmt: skip

    @property
    def usage(self) -> Usage:
        usage = _Usage()
        return self._use.call(
            self._handle, "decant_stream_get_usage", ctypes.byref(usage), ctypes.sizeof(usage),
            read=lambda: _usage(usage),
        )  # fmt: skip

    def close(self) -> None:
        """Ends the turn, once a call that is under way has ended. May be called again."""
        handle, self._it = self._it, None
        if handle is not None:
            self._use.leave(handle)


# Engines


class Engine(_Closable):
    """Decodes many texts over one model."""

    def __init__(
        self,
        model: Path | Model,
        *,
        n_threads: int = 0,
        pin_threads: bool = False,
        isa: str = "auto",
        n_ctx: int = 0,
        max_sequences: int = 8,
        max_step_tokens: int = 512,
        prefill_chunk: int = 0,
        step_target_ms: int = 250,
        max_logit_rows: int = 0,
        cache_k_type: KvType = KvType.F16,
        cache_v_type: KvType = KvType.F16,
        cache_block_tokens: int = 64,
        cache_limit_bytes: int = 0,
        cache_prefix_bytes: int = 256 << 20,
        cache_rollback_tokens: int = 0,
        memory_limit_bytes: int = 0,
        on_step: StepCallback | None = None,
        log: LogCallback | None = None,
        numerics: Numerics = Numerics.EXACT,
        map_packed: bool = True,
        progress: ProgressCallback | None = None,
        stop: StopSource | None = None,
        timeout: float | None = None,
    ) -> None:
        """Opens a model for one engine, or makes an engine over one that others may use, too: decant::EngineOptions.
        `on_step` and `log` are told from the thread that computes, and must not use decant. From `numerics` on, the
        options are of the opening: see Model."""
        library = _library()
        log_callback, step_callback = _c_log(log), _c_on_step(on_step, library)
        options = _EngineOptions()
        library.plain("decant_engine_options_init", ctypes.byref(options), ctypes.sizeof(options))
        options.isa = _utf8(isa)
        options.pin_threads = int(pin_threads)
        for name, value in (
            ("n_threads", n_threads), ("n_ctx", n_ctx), ("max_sequences", max_sequences),
            ("max_step_tokens", max_step_tokens), ("prefill_chunk", prefill_chunk),
            ("step_target_ms", step_target_ms), ("max_logit_rows", max_logit_rows), ("cache_k_type", cache_k_type),
            ("cache_v_type", cache_v_type), ("cache_block_tokens", cache_block_tokens),
            ("cache_rollback_tokens", cache_rollback_tokens),
        ):  # fmt: skip
            setattr(options, name, _int32(int(value), name))
        options.cache_limit_bytes = _size_t(cache_limit_bytes, "cache_limit_bytes")
        options.cache_prefix_bytes = _size_t(cache_prefix_bytes, "cache_prefix_bytes")
        options.memory_limit_bytes = _size_t(memory_limit_bytes, "memory_limit_bytes")
        options.on_step, options.log = step_callback, log_callback

        handle = _Handle(library, "engine", log_callback, step_callback)
        if isinstance(model, Model):
            source = model._handle
            _call(source, "decant_engine_create", ctypes.byref(options), ctypes.byref(handle.pointer))
        else:
            with _Opening(library, numerics, n_threads, map_packed, 0, progress, stop, timeout, log) as opening:
                library.call(
                    "decant_engine_open", _path(model), ctypes.byref(options), ctypes.byref(opening.options),
                    ctypes.byref(handle.pointer),
                )  # fmt: skip
        self._it = handle
        self._stepping = threading.Lock()

    # Texts of one's own

    def session(self, options: SequenceOptions = SequenceOptions()) -> Session:
        """A text of its own, empty."""
        handle = self._handle
        made = _Handle(handle.library, "session", *handle.keep)
        given = options._to_c(handle.library)
        _call(handle, "decant_engine_session", ctypes.byref(given), ctypes.byref(made.pointer))
        return Session(made)

    def restore_session(self, path: Path) -> Session:
        """A text from a file that `Session.save()` or `save()` wrote."""
        handle = self._handle
        made = _Handle(handle.library, "session", *handle.keep)
        _call(handle, "decant_engine_restore_session", _path(path), ctypes.byref(made.pointer))
        return Session(made)

    # Sequences, for a loop of one's own

    def _request(
        self,
        prompt: Prompt,
        options: Generation,
        sequence: SequenceOptions,
        all_logits: bool,
        keep: bool,
        detokenize: bool,
        changes: Mapping[str, Any],
    ) -> tuple[_Request, Any]:
        library = self._handle.library
        out = _Request()
        library.plain("decant_request_init", ctypes.byref(out), ctypes.sizeof(out))
        generation, alive = options._changed(changes)._to_c(library)
        sequence_in = sequence._to_c(library)
        suffix, what, n = _prompt(prompt)
        if suffix:
            out.prompt, out.n_prompt = what, n
        else:
            out.prompt_text, out.n_prompt_text_bytes = what, n
        out.generation, out.sequence = ctypes.pointer(generation), ctypes.pointer(sequence_in)
        out.all_logits, out.keep, out.detokenize = int(all_logits), int(keep), int(detokenize)
        return out, (generation, alive, sequence_in, what)

    def admit(
        self,
        prompt: Prompt,
        options: Generation = Generation(),
        *,
        sequence: SequenceOptions = SequenceOptions(),
        **changes: Any,
    ) -> Admission:
        """What a request would take, and whether it would be taken now; nothing changes."""
        request, alive = self._request(prompt, options, sequence, False, False, True, changes)
        found = _filled(self._handle, "decant_engine_admit", _Admission, ctypes.byref(request))
        del alive
        return Admission(found.needed_bytes, found.available_bytes, bool(found.fits))

    def submit(
        self,
        prompt: Prompt,
        options: Generation = Generation(),
        *,
        sequence: SequenceOptions = SequenceOptions(),
        all_logits: bool = False,
        keep: bool = False,
        detokenize: bool = True,
        **changes: Any,
    ) -> int:
        """Takes a sequence into the next steps: its number. `changes` as in Session.stream()."""
        request, alive = self._request(prompt, options, sequence, all_logits, keep, detokenize, changes)
        number = ctypes.c_int64()
        _call(self._handle, "decant_engine_submit", ctypes.byref(request), ctypes.byref(number))
        del alive
        return number.value

    def step(self, stop: StopSource | None = None) -> StepReport:
        """Advances every submitted sequence that can. On an error nothing has changed."""
        handle = self._handle
        switch = stop._handle if stop is not None else None
        out = ctypes.POINTER(_StepReport)()
        with self._stepping:
            _call(handle, "decant_engine_step", switch.pointer if switch is not None else None, ctypes.byref(out))
            report = out.contents
            vocab_size = 0
            if report.n_logits > 0:
                vocab_size = Model._lent(handle).info.vocab_size
            return StepReport(
                pieces=[_piece(report.pieces[i].contents) for i in range(report.n_pieces)],
                logits=[_logits(report.logits[i].contents, vocab_size) for i in range(report.n_logits)],
                n_prefill_tokens=report.n_prefill_tokens,
                n_decode_tokens=report.n_decode_tokens,
                elapsed_ns=report.elapsed_ns,
                forward_ns=report.forward_ns,
                sample_ns=report.sample_ns,
                idle=bool(report.idle),
            )

    def pieces(self, stop: StopSource | None = None) -> Iterator[Piece]:
        """Pieces of all submitted sequences, step by step, until none goes on."""
        while not (report := self.step(stop)).idle:
            yield from report.pieces

    def cancel(self, sequence: int) -> None:
        """Ends a sequence and gives its cache back."""
        _call(self._handle, "decant_engine_cancel", _sequence(sequence))

    def fork(self, sequence: int, sampling: Sampling = Sampling()) -> int:
        """A new sequence with the same tokens, which goes on by itself; a paused one's is paused."""
        handle, number = self._handle, ctypes.c_int64()
        given = sampling._to_c(handle.library)
        _call(handle, "decant_engine_fork", _sequence(sequence), ctypes.byref(given), ctypes.byref(number))
        return number.value

    def truncate(self, sequence: int, n_tokens: int) -> None:
        """Cuts a sequence to its first n_tokens ≥ 1 tokens."""
        _call(self._handle, "decant_engine_truncate", _sequence(sequence), _int32(n_tokens, "n_tokens"))

    def remove(self, sequence: int, first: int, n: int) -> None:
        """Takes n tokens from `first` on out, and closes the gap: an approximation."""
        _call(self._handle, "decant_engine_remove", _sequence(sequence), _int32(first, "first"), _int32(n, "n"))

    def extend(
        self, sequence: int, ids: Sequence[int] = (), max_new_tokens: int = -1, options: Generation | None = None
    ) -> None:
        """Adds ids to a paused sequence and lets it go on: as before for max_new_tokens more, or with other options."""
        handle, values = self._handle, _id_array(ids)
        if options is None:
            n_new = _int32(max_new_tokens, "max_new_tokens")
            _call(handle, "decant_engine_extend", _sequence(sequence), values, len(values), n_new)
            return
        given, keep = options._to_c(handle.library)
        _call(handle, "decant_engine_extend_with", _sequence(sequence), values, len(values), ctypes.byref(given))
        del keep

    def set_sampling(self, sequence: int, sampling: Sampling) -> None:
        """How its next tokens are chosen."""
        handle = self._handle
        given = sampling._to_c(handle.library)
        _call(handle, "decant_engine_set_sampling", _sequence(sequence), ctypes.byref(given))

    def info(self, sequence: int) -> SequenceInfo:
        handle = self._handle
        found = _filled(handle, "decant_engine_get_sequence_info", _SequenceInfo, _sequence(sequence))
        sampling = _filled(handle, "decant_engine_get_sampling", _SamplingParams, _sequence(sequence))
        return SequenceInfo(
            n_tokens=found.n_tokens,
            n_computed=found.n_computed,
            paused=bool(found.paused),
            n_prefix_tokens=found.n_prefix_tokens,
            n_prefix_known=found.n_prefix_known,
            prefix_miss=PrefixMiss(found.prefix_miss),
            sampling=Sampling(**sampling.values(Sampling)),
        )

    def ids(self, sequence: int) -> list[int]:
        """The last of its tokens, all unless it is endless."""
        return _read_ids(self._handle, "decant_engine_sequence_ids", _sequence(sequence))

    def save(self, sequence: int, path: Path) -> None:
        """Saves a sequence with its cache: restored, it goes on to the same tokens, bit for bit."""
        _call(self._handle, "decant_engine_save", _sequence(sequence), _path(path))

    def restore(self, path: Path) -> int:
        """Adds a sequence from a file, paused."""
        number = ctypes.c_int64()
        _call(self._handle, "decant_engine_restore", _path(path), ctypes.byref(number))
        return number.value

    # Known prefixes

    def save_prefixes(self, path: Path) -> None:
        _call(self._handle, "decant_engine_save_prefixes", _path(path))

    def restore_prefixes(self, path: Path) -> int:
        """How many tokens are known by it."""
        n = ctypes.c_int64()
        _call(self._handle, "decant_engine_restore_prefixes", _path(path), ctypes.byref(n))
        return n.value

    def forget_prefixes(self, salt: str | None = None) -> None:
        """Forgets all known prefixes, or those of a salt."""
        raw = _utf8(salt) if salt is not None else None
        _call(self._handle, "decant_engine_forget_prefixes", raw, len(raw) if raw is not None else 0)

    # What it is

    @property
    def model(self) -> Model:
        """The engine's model, which keeps the engine open in turn."""
        return Model._lent(self._handle)

    def encode(self, text: str, add_special: bool = True) -> list[int]:
        """As Model.encode()."""
        return self.model.encode(text, add_special)

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """As Model.decode()."""
        return self.model.decode(ids, skip_special)

    def _info(self) -> Any:
        return _filled(self._handle, "decant_engine_get_info", _EngineInfo)

    @property
    def isa(self) -> str:
        """The kernel table in force."""
        return cast(bytes, self._info().isa).decode()

    @property
    def n_ctx(self) -> int:
        return cast(int, self._info().n_ctx)

    @property
    def n_threads(self) -> int:
        return cast(int, self._info().n_threads)

    @property
    def n_sequences(self) -> int:
        """Alive, paused ones and those of sessions included."""
        return cast(int, self._info().n_sequences)

    @property
    def memory_stats(self) -> MemoryStats:
        return MemoryStats(
            **_filled(self._handle, "decant_engine_get_memory_stats", _MemoryStats).values(MemoryStats)
        )

    @property
    def cache_stats(self) -> CacheStats:
        return CacheStats(**_filled(self._handle, "decant_engine_get_cache_stats", _CacheStats).values(CacheStats))

    def cache_bytes_needed(self, n_tokens: int) -> int:
        """Bytes of cache that a sequence of n_tokens takes."""
        out = ctypes.c_size_t()
        _call(self._handle, "decant_engine_cache_bytes_needed", _int32(n_tokens, "n_tokens"), ctypes.byref(out))
        return out.value


def _logits(rows: _LogitRows, vocab_size: int) -> LogitRows:
    address = ctypes.cast(rows.logits, _void).value or 0
    out = []
    for i in range(rows.n_rows):
        row: array.array[float] = array.array("f")
        row.frombytes(ctypes.string_at(address + i * rows.row_stride * 4, vocab_size * 4))
        out.append(row)
    return LogitRows(rows.sequence, rows.first_pos, out)
