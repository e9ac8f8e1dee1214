#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""decant's Python module against a library and a model.

usage: decant_python_test.py ROOT LIBRARY MODEL   ROOT: decant's source tree; MODEL: one with a tokenizer
"""

import ctypes
import enum
import gc
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

ROOT, LIBRARY, MODEL = (pathlib.Path(argument).resolve() for argument in sys.argv[1:4])
sys.path.insert(0, str(ROOT / "tools" / "python"))
import decant  # noqa: E402

decant.load(LIBRARY)
SMALL = {"n_threads": 2, "max_sequences": 3, "max_step_tokens": 32, "cache_block_tokens": 16}
GREEDY = {"temperature": 0, "ignore_end": True}


class Case(unittest.TestCase):
    """With an engine over a model that all cases share."""

    @classmethod
    def setUpClass(cls):
        cls.model = decant.Model(MODEL)

    def setUp(self):
        self.engine = decant.Engine(self.model, **SMALL)
        self.addCleanup(self.engine.close)

    def said(self, prompt=(1, 2, 3), n=8):
        return self.engine.session().generate(prompt, max_new_tokens=n, **GREEDY)


class HeaderTest(unittest.TestCase):
    """What the module says of the C ABI is what the header says."""

    HEADER = re.sub(r"//[^\n]*", "", (ROOT / "include" / "decant" / "c_api.h").read_text(encoding="utf-8"))
    SCALARS = {
        "size_t": ctypes.c_size_t, "int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64, "float": ctypes.c_float,
        "uint64_t": ctypes.c_uint64, "decant_status": ctypes.c_int32,
    }  # fmt: skip

    def test_structs_have_the_same_fields(self):
        found = re.findall(r"typedef struct decant_(\w+) \{(.*?)\} decant_\w+;", self.HEADER, re.DOTALL)
        self.assertGreater(len(found), 20)
        for name, body in found:
            with self.subTest(name):
                struct = getattr(decant, "_" + "".join(word.capitalize() for word in name.split("_")))
                fields = [field.strip() for field in body.split(";") if field.strip()]
                self.assertEqual([re.search(r"(\w+)(\[\d+\])?$", field)[1] for field in fields],
                                 [field for field, _ in struct._fields_])
                for field, (_, kind) in zip(fields, struct._fields_):
                    scalar = self.SCALARS.get(field.split()[0])
                    if scalar is not None and "*" not in field:
                        self.assertIs(kind, scalar, field)
                    else:
                        self.assertTrue(kind is ctypes.c_char_p or kind is ctypes.c_void_p or
                                        not issubclass(kind, ctypes._SimpleCData), field)

    def test_functions_take_the_same_number_of_arguments(self):
        found = re.findall(r"DECANT_API ([^;]*?)\b(decant_\w+)\(([^;]*?)\);", self.HEADER, re.DOTALL)
        arguments = {name: [] if text.strip() == "void" else text.split(",") for _, name, text in found}
        self.assertEqual(set(arguments), set(decant._FUNCTIONS))
        for name, (result, kinds) in decant._FUNCTIONS.items():
            with self.subTest(name):
                self.assertEqual(len(arguments[name]), len(kinds) + (1 if result == "s" else 0))
                self.assertEqual(result == "s", bool(arguments[name]) and "decant_error*" in arguments[name][-1])
                for text, kind in zip(arguments[name], kinds):
                    if "*" not in text and "callback" not in text:
                        self.assertIs(kind, self.SCALARS[text.split()[0]], text)

    def test_numbers_have_the_same_names(self):
        numbers = dict(re.findall(r"DECANT_(\w+) = (-?\d+)", self.HEADER))
        for prefix, cls in (("FINISH_", decant.Finish), ("FLOW_", decant.Flow), ("LOG_", decant.LogLevel),
                            ("NUMERICS_", decant.Numerics), ("KV_", decant.KvType), ("PREFIX_", decant.PrefixMiss)):
            with self.subTest(prefix):
                self.check({name[len(prefix):]: int(value) for name, value in numbers.items()
                            if name.startswith(prefix)}, cls)
        groups = re.search(r"typedef int32_t decant_status;\s*enum \{(.*?)\}", self.HEADER, re.DOTALL)[1]
        self.check({name: int(value) for name, value in re.findall(r"DECANT_(\w+) = (\d+)", groups)}, decant.Status)
        self.assertEqual({error.status for error in decant._ERRORS.values()},
                         set(decant.Status) - {decant.Status.OK, decant.Status.UNKNOWN})

    def test_the_library_calls_numbers_by_the_header_s_names(self):
        library = decant._library()
        for prefix, function in (("FINISH_", "decant_finish_name"), ("OP_", "decant_op_name"),
                                 ("PREFIX_", "decant_prefix_miss_name")):
            numbers = re.findall(rf"DECANT_{prefix}(\w+) = (\d+)", self.HEADER)
            self.assertGreater(len(numbers), 5)
            for name, value in numbers:
                self.assertEqual(library.plain(function, int(value)).decode(), name.lower())
            self.assertEqual(library.plain(function, len(numbers)), b"?")
        for status in decant.Status:
            name = "?" if status < 0 else status.name.lower()
            self.assertEqual(library.plain("decant_status_name", status).decode(), name)

    def check(self, expected, cls):
        self.assertEqual(expected, {item.name: item.value for item in cls if item.value >= 0})


class TextTest(Case):
    def test_a_stream_is_a_loop_of_pieces(self):
        text = ""
        for piece in decant.Engine(MODEL).session().stream("Once", max_new_tokens=8, temperature=0):
            text += piece.text
        self.assertEqual(text, self.engine.session().generate("Once", max_new_tokens=8, temperature=0).text)

    def test_a_piece_says_what_it_is(self):
        session = self.engine.session()
        stream = session.stream([1, 2, 3], top_logprobs=2, max_new_tokens=4, **GREEDY)
        pieces = list(stream)
        self.assertEqual([piece.finish for piece in pieces], [decant.Finish.NONE] * 3 + [decant.Finish.LENGTH])
        self.assertEqual(stream.finish, decant.Finish.LENGTH)
        self.assertEqual(stream.usage.n_generated_tokens, 4)
        self.assertEqual(stream.usage, pieces[-1].usage)
        for piece in pieces:
            self.assertEqual(piece.top_logprobs[0], (piece.token_id, piece.logprob))
            self.assertEqual(len(piece.top_logprobs), 2)
            self.assertLess(piece.logprob, 0)
            self.assertEqual(piece.bytes, self.model.token_bytes(piece.token_id))
        self.assertEqual(session.ids, [1, 2, 3] + [piece.token_id for piece in pieces])
        self.assertEqual(session.n_tokens, 7)
        self.assertEqual(list(stream), [])

    def test_options_are_given_whole_or_by_name(self):
        options = decant.Generation(decant.Sampling(temperature=0), max_new_tokens=5, ignore_end=True)
        expected = self.engine.session().generate([1, 2], options).ids
        self.assertEqual(self.engine.session().generate([1, 2], max_new_tokens=5, **GREEDY).ids, expected)
        self.assertEqual(self.engine.session().generate([1, 2], options, max_new_tokens=3).ids, expected[:3])
        self.assertEqual(len(self.engine.session().generate([1, 2], options, sampling=decant.Sampling(seed=5)).ids), 5)
        with self.assertRaises(TypeError):
            self.engine.session().stream("a", temprature=0)

    def test_text_ends_before_a_stop_string(self):
        for seed in range(20):
            varied = {"seed": seed, "max_new_tokens": 30, "ignore_end": True}
            whole = self.engine.session().generate("a", **varied).text
            if len(whole) > 8 and "\N{REPLACEMENT CHARACTER}" not in whole[6]:
                break
        for stops in (["never met", whole[6]], whole[6]):
            done = self.engine.session().generate("a", stop_strings=stops, **varied)
            self.assertEqual(done.text, whole[: whole.index(whole[6])])
            self.assertEqual(done.finish, decant.Finish.STOP_STRING)

    def test_a_callback_may_stop_and_cancel(self):
        for answer, finish in ((decant.Flow.STOP, decant.Finish.STOP), (decant.Flow.CANCEL, decant.Finish.CANCELLED)):
            pieces = []
            done = self.engine.session().generate(
                [1, 2, 3], max_new_tokens=9, on_piece=lambda piece: pieces.append(piece) or
                (answer if len(pieces) == 3 else None), **GREEDY)
            self.assertEqual(done.finish, finish)
            self.assertEqual(done.ids, self.said().ids[:3])

    def test_what_a_callback_raises_comes_out_and_the_session_goes_on(self):
        session = self.engine.session()

        def refuse(piece):
            raise KeyError("mine")

        with self.assertRaisesRegex(KeyError, "mine"):
            session.generate([1, 2, 3], on_piece=refuse)
        self.assertEqual(session.n_tokens, 4)
        self.assertEqual(len(session.generate("", max_new_tokens=2, **GREEDY).ids), 2)

    def test_a_callback_that_uses_its_own_session_is_told_so(self):
        session, other = self.engine.session(), self.engine.session()
        with self.assertRaises(decant.InvalidArgument):
            session.generate([1], max_new_tokens=2, on_piece=lambda piece: session.truncate(0) or None)
        session.generate([1], max_new_tokens=2, on_piece=lambda piece: other.truncate(0) or None)
        session.generate([1], max_new_tokens=9, on_piece=lambda piece: session.cancel())

    def test_sessions_fork_truncate_save_and_come_back(self):
        whole = self.said(n=12).ids
        session = self.engine.session()
        self.assertEqual(session.generate([1, 2, 3], max_new_tokens=4, **GREEDY).ids, whole[:4])
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "saved")
            session.save(path)
            with self.assertRaises(decant.IoError) as raised:
                self.engine.restore_session(pathlib.Path(folder, "missing"))
            self.assertIsInstance(raised.exception, OSError)
            self.assertIn("missing", str(raised.exception))
            restored = self.engine.restore_session(path)
            fork = session.fork()
            for it in (session, fork, restored):
                self.assertEqual(it.generate("", max_new_tokens=8, **GREEDY).ids, whole[4:])
            fork.truncate(7)
            self.assertEqual(fork.ids, [1, 2, 3] + whole[:4])

    def test_a_stream_that_is_left_ends_its_turn(self):
        session = self.engine.session()
        for piece in session.stream([1, 2, 3], **GREEDY):
            break
        self.assertEqual(session.n_tokens, 4)
        with session.stream("", **GREEDY) as stream:
            next(stream)
            next(stream)
        self.assertEqual(session.n_tokens, 6)
        self.assertEqual(list(stream), [])
        with self.assertRaises(decant.InvalidArgument):
            stream.finish


class LoopTest(Case):
    def test_sequences_share_steps_and_are_what_they_are_alone(self):
        prompts = [[1, 2, 3], [7] * 50, [400, 3, 9, 12]]
        numbers = [self.engine.submit(prompt, max_new_tokens=10, **GREEDY) for prompt in prompts]
        ids = {number: [] for number in numbers}
        for piece in self.engine.pieces():
            ids[piece.sequence].append(piece.token_id)
        for prompt, number in zip(prompts, numbers):
            self.assertEqual(ids[number], self.said(prompt, 10).ids)
        self.assertEqual(self.engine.n_sequences, 0)
        self.assertTrue(self.engine.step().idle)

    def test_a_kept_sequence_is_extended_forked_cut_saved_and_restored(self):
        whole = self.said(n=10).ids
        number = self.engine.submit([1, 2, 3], max_new_tokens=4, keep=True, **GREEDY)
        self.assertEqual([piece.token_id for piece in self.engine.pieces()], whole[:4])
        info = self.engine.info(number)
        self.assertTrue(info.paused)
        self.assertEqual(info.n_tokens, 7)
        self.assertEqual(info.sampling, decant.Sampling(temperature=0))
        fork = self.engine.fork(number, info.sampling)
        with tempfile.TemporaryDirectory() as folder:
            self.engine.save(number, os.path.join(folder, "it"))
            restored = self.engine.restore(os.path.join(folder, "it"))
            self.engine.save_prefixes(os.path.join(folder, "prefixes"))
            self.engine.forget_prefixes()
            self.assertGreaterEqual(self.engine.restore_prefixes(os.path.join(folder, "prefixes")), 0)
            self.engine.forget_prefixes("salt")
        self.engine.extend(fork, max_new_tokens=6)
        self.engine.extend(restored, options=decant.Generation(info.sampling, 6, True))
        ids = {fork: [], restored: []}
        for piece in self.engine.pieces():
            ids[piece.sequence].append(piece.token_id)
        self.assertEqual(ids, {fork: whole[4:], restored: whole[4:]})
        self.engine.truncate(fork, 5)
        self.assertEqual(self.engine.ids(fork), [1, 2, 3] + whole[:2])
        self.engine.remove(fork, 1, 2)
        self.assertEqual(self.engine.ids(fork), [1] + whole[:2])
        self.engine.set_sampling(fork, decant.Sampling(seed=2**64 - 1, top_k=3))
        self.assertEqual(self.engine.info(fork).sampling, decant.Sampling(seed=2**64 - 1, top_k=3))
        for it in (number, fork, restored):
            self.engine.cancel(it)

    def test_logits_come_for_every_position(self):
        engine = decant.Engine(self.model, max_logit_rows=32, **SMALL)
        number = engine.submit([4, 5, 6], max_new_tokens=0, all_logits=True, detokenize=False)
        (rows,) = engine.step().logits
        self.assertEqual((rows.sequence, rows.first_pos, len(rows.rows)), (number, 0, 3))
        self.assertTrue(all(len(row) == self.model.info.vocab_size for row in rows.rows))
        best = max(range(len(rows.rows[2])), key=lambda id: (rows.rows[2][id], -id))
        self.assertEqual(self.said([4, 5, 6], 1).ids, [best])

    def test_a_request_is_judged_before(self):
        admission = self.engine.admit([1, 2, 3], max_new_tokens=5)
        self.assertTrue(admission.fits)
        self.assertGreater(admission.needed_bytes, 0)
        with self.assertRaises(decant.InvalidArgument):
            self.engine.admit([])
        with self.assertRaises(decant.OverLimit) as raised:
            decant.Engine(MODEL, memory_limit_bytes=1 << 20)
        self.assertIsInstance(raised.exception, MemoryError)
        for _ in range(3):
            self.engine.submit([1], sequence=decant.SequenceOptions(share_prefix=False))
        with self.assertRaises(decant.CacheFull):
            self.engine.submit([1])


class ThreadTest(Case):
    def test_sessions_of_many_threads_say_what_they_say_alone(self):
        prompts = [[i + 1, 2, 3] for i in range(3)]
        alone = [self.said(prompt, 20).ids for prompt in prompts]
        ids = [None] * 3

        def speak(i):
            ids[i] = [piece.token_id for piece in self.engine.session().stream(prompts[i], max_new_tokens=20, **GREEDY)]

        threads = [threading.Thread(target=speak, args=[i]) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(ids, alone)

    def test_a_session_is_cancelled_from_another_thread(self):
        session = self.engine.session()
        first = threading.Event()

        def cancel():
            first.wait()
            session.cancel()

        thread = threading.Thread(target=cancel)
        thread.start()
        last = None
        for last in session.stream([1, 2, 3], **GREEDY):
            first.set()
            if last.finish == decant.Finish.NONE:
                thread.join()
        self.assertEqual(last.finish, decant.Finish.CANCELLED)

    def test_everything_may_be_closed_while_it_is_used(self):
        session = self.engine.session()
        stream = session.stream([1, 2, 3], **GREEDY)
        next(stream)
        others = [threading.Thread(target=it.close) for it in (self.engine, session, stream)]
        for thread in others:
            thread.start()
        pieces = list(stream)
        for thread in others:
            thread.join()
        self.assertLess(len(pieces), 600)
        for use in (lambda: self.engine.session(), lambda: session.ids, lambda: self.engine.model):
            self.assertRaisesRegex(decant.InvalidArgument, "closed", use)
        session.close()

    def test_a_stop_source_and_a_time_end_generations_steps_and_loading(self):
        with decant.StopSource() as stop:
            self.assertFalse(stop.requested)
            stop.request()
            self.assertTrue(stop.requested)
            self.assertEqual(self.engine.session().generate([1], stop=stop).finish, decant.Finish.CANCELLED)
            self.engine.submit([1], max_new_tokens=1)
            self.assertRaises(decant.Cancelled, self.engine.step, stop)
            self.assertRaises(decant.Cancelled, decant.Model, MODEL, stop=stop)
            self.assertRaises(decant.Cancelled, decant.Engine, MODEL, stop=stop)
        self.assertEqual(self.engine.session().generate([1], timeout=0).finish, decant.Finish.DEADLINE)
        self.assertRaises(decant.Cancelled, decant.Model, MODEL, timeout=0)
        self.assertEqual(len(self.engine.session().generate([1], timeout=1e30, max_new_tokens=2).ids), 2)

    def test_an_interrupt_comes_out_and_the_session_goes_on(self):
        session = self.engine.session()

        def interrupt(piece):
            signal.raise_signal(signal.SIGINT)

        with self.assertRaises(KeyboardInterrupt):
            session.generate([1, 2, 3], on_piece=interrupt, **GREEDY)
        with self.assertRaises(KeyboardInterrupt):
            for _ in session.stream("", **GREEDY):
                signal.raise_signal(signal.SIGINT)
        self.assertEqual(len(session.generate("", max_new_tokens=3, **GREEDY).ids), 3)


class TellingTest(Case):
    def test_the_logger_and_the_observer_are_told(self):
        messages, steps, progress = [], [], []
        model = decant.Model(MODEL, n_threads=1, progress=lambda done, total: progress.append((done, total)))
        engine = decant.Engine(
            model, log=lambda level, message: messages.append((level, message)), on_step=steps.append, **SMALL)
        engine.session().generate([1, 2, 3], max_new_tokens=3, **GREEDY)
        self.assertTrue(messages)
        self.assertTrue(all(isinstance(level, decant.LogLevel) and message for level, message in messages))
        self.assertEqual(progress[-1][0], progress[-1][1])
        self.assertGreaterEqual(len(steps), 3)
        self.assertEqual(sum(len(step.tokens) for step in steps), 3)
        for step in steps:
            self.assertEqual(step.ops[0].op, "schedule")
            self.assertEqual(len(step.threads), 2)
            self.assertTrue(all(a.end_ns == b.begin_ns for a, b in zip(step.ops, step.ops[1:])))
            self.assertTrue(all(lap.op < len(step.ops) for thread in step.threads for lap in thread.laps))

    def test_what_the_listener_to_an_opening_raises_stops_it_and_comes_out(self):
        def refuse(done, total):
            raise KeyError("mine")

        self.assertRaisesRegex(KeyError, "mine", decant.Model, MODEL, n_threads=1, progress=refuse)
        self.assertRaisesRegex(KeyError, "mine", decant.Engine, MODEL, n_threads=1, progress=refuse)

    def test_models_and_engines_say_what_they_are(self):
        info = self.model.info
        self.assertEqual(info.path, str(MODEL))
        self.assertTrue(info.has_tokenizer)
        self.assertEqual(len(info.fingerprint), 16)
        self.assertIsInstance(self.model.generation_defaults.do_sample, (bool, type(None)))
        self.assertGreater(self.model.load_times.weights_ns, 0)
        self.assertEqual(self.engine.model.info, info)
        self.assertEqual((self.engine.n_threads, self.engine.n_ctx), (2, info.n_ctx))
        self.assertIn(self.engine.isa, decant.isas())
        self.assertGreater(self.engine.memory_stats.total_bytes, self.engine.memory_stats.weights_bytes)
        self.said()
        self.assertGreater(self.engine.cache_stats.n_prefix_tokens, 0)
        self.assertGreater(self.engine.cache_bytes_needed(100), self.engine.cache_bytes_needed(1))

    def test_the_tokenizer_goes_both_ways(self):
        text = "Hello there, caf\N{LATIN SMALL LETTER E WITH ACUTE}\0!"
        ids = self.engine.encode(text)
        self.assertEqual(self.engine.decode(ids), text)
        self.assertEqual(b"".join(self.model.token_bytes(id) for id in self.model.encode(text, add_special=False)),
                         text.encode())
        self.assertEqual(self.model.token_id(self.model.token_entry(70)), 70)
        self.assertIsNone(self.model.token_id("no such entry"))
        self.assertFalse(self.model.is_special(70))
        self.assertEqual(self.model.decode([]), "")


class ErrorTest(Case):
    def test_an_error_has_the_class_of_its_code_and_a_message(self):
        for call, error, builtin in (
            (lambda: decant.Model("/no/such/file"), decant.IoError, OSError),
            (lambda: self.engine.submit([512]), decant.InvalidArgument, ValueError),
            (lambda: self.engine.submit([]), decant.InvalidArgument, ValueError),
            (lambda: self.engine.submit([1] * 10000), decant.InvalidArgument, ValueError),
            (lambda: self.engine.submit([2**31]), decant.InvalidArgument, ValueError),
            (lambda: self.engine.submit(["a"]), decant.InvalidArgument, ValueError),
            (lambda: self.engine.cancel(99), decant.InvalidArgument, ValueError),
            (lambda: self.engine.cancel(2**64 + 1), decant.InvalidArgument, ValueError),
            (lambda: self.engine.session().stream([1], max_new_tokens=2**40), decant.InvalidArgument, ValueError),
            (lambda: self.engine.session().stream([1], seed=-1), decant.InvalidArgument, ValueError),
            (lambda: self.engine.session().stream([1], timeout=float("nan")), decant.InvalidArgument, ValueError),
            (lambda: self.engine.session().stream([1], temperature=float("nan")), decant.InvalidArgument, ValueError),
            (lambda: self.model.token_bytes(-1), decant.InvalidArgument, ValueError),
            (lambda: decant.Engine(self.model, isa="none such"), decant.InvalidArgument, ValueError),
            (lambda: decant.Engine(self.model, cache_k_type=77), decant.InvalidArgument, ValueError),
            (lambda: decant.Engine(self.model, memory_limit_bytes=-1), decant.InvalidArgument, ValueError),
            (lambda: decant.Engine("a\0b"), decant.InvalidArgument, ValueError),
        ):
            with self.assertRaises(error) as raised:
                call()
            self.assertIsInstance(raised.exception, builtin)
            self.assertIsInstance(raised.exception, decant.DecantError)
            self.assertIs(raised.exception.status, error.status)
            self.assertTrue(raised.exception.message)
        self.assertEqual(self.engine.n_sequences, 0)

    def test_a_number_of_a_later_library_is_unknown(self):
        for cls in (decant.Status, decant.Finish, decant.LogLevel, decant.Numerics):
            self.assertTrue(issubclass(cls, enum.IntEnum))
            self.assertIs(cls(1234), cls.UNKNOWN)

    def test_the_library_is_loaded_once_and_missing_ones_are_an_import_error(self):
        self.assertRaises(ImportError, decant.load, "/another/libdecant.so")
        decant.load()
        program = "import decant; decant.load()"
        for library in ("/no/such/libdecant.so", str(ROOT / "LICENSE")):
            done = self.run_python(program, library)
            self.assertEqual(done.returncode, 1)
            self.assertIn("ImportError", done.stderr)
            self.assertIn(library, done.stderr)

    def test_a_program_may_end_with_everything_open_and_says_nothing_of_its_own(self):
        program = f"""
import decant, threading
engine = decant.Engine({str(MODEL)!r}, on_step=lambda step: None, log=lambda level, message: None)
engine.keep = engine
session = engine.session()
stream = session.stream([1, 2, 3])
next(stream)
engine.submit([1])
"""
        done = self.run_python(program, str(LIBRARY))
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def run_python(self, program, library):
        environment = {**os.environ, "DECANT_LIBRARY": library, "PYTHONPATH": str(ROOT / "tools" / "python")}
        return subprocess.run([sys.executable, "-B", "-c", program], env=environment, capture_output=True, text=True,
                              check=False)

    def test_handles_are_freed_when_nobody_has_them(self):
        def use():
            engine = decant.Engine(self.model, **SMALL)
            session = engine.session()
            stream = session.stream([1, 2, 3])
            next(stream)
            return stream

        stream = use()
        gc.collect()
        self.assertEqual(len([next(stream) for _ in range(3)]), 3)
        del stream
        gc.collect()
        self.assertEqual([it for it in gc.get_objects() if isinstance(it, decant.Session)], [])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
