"""Scripts that look at all they can see of how they were started, and end in all the ways a script can end.

Each is run once by a new Python and once by a warm one; what they print and how they end must be the same. So they
print nothing that differs between two cold runs either (pids, instants, addresses, the order of a set).
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    name: str
    script: str
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """Beside the script: path → content."""
    file: str = "main.py"
    """The script's own path."""
    warm: bool = True
    """Whether it is started by the fork server; what that is not for is started cold."""


def _cases(text: str) -> list[Case]:
    """`## name` before each script."""
    pieces = textwrap.dedent(text).split("## ")[1:]
    return [Case(*(part.strip("\n") for part in piece.split("\n", 1))) for piece in pieces]


_PLAIN = r'''
## empty


## arguments_of_none
import sys
print(sys.argv, sys.orig_argv[1:])

## the_main_module
import sys
print(__name__, __doc__, __package__, __spec__, __file__, __cached__, __annotations__, type(__loader__), __builtins__)
print(list(globals()), sys.modules["__main__"].__dict__ is globals())
print(__loader__.name, __loader__.path, __loader__.get_source("__main__")[:10])

## a_docstring_and_annotations
"""Says something."""
x: int = 1
print(__doc__, __annotations__)

## flags_and_paths
import sys
print(sys.flags, sys.path, sys.executable, sys.prefix, sys.base_prefix, sys.warnoptions, sys._xoptions)
print(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors(), sys.getdefaultencoding(), sys.dont_write_bytecode)
print(sys.getrecursionlimit(), sys.getswitchinterval(), sys.excepthook is sys.__excepthook__, sys.gettrace())
print([hasattr(sys, name) for name in ("last_type", "last_value", "last_traceback", "ps1", "tracebacklimit")])
print(sys.displayhook is sys.__displayhook__, sys.unraisablehook is sys.__unraisablehook__, sys.exc_info())
print(sys.meta_path, [hook.__name__ for hook in sys.path_hooks], sys.pycache_prefix, sys.is_finalizing())

## working_directory
import os, pathlib
print(os.getcwd(), pathlib.Path.cwd(), os.listdir())

## environment
import os, posix, subprocess
print(os.environ, list(posix.environ) == list(os.environb), os.environb[b"PATH"])
os.environ["ADDED"] = "1"
del os.environ["HOME"]
print(subprocess.run(["env"], capture_output=True, text=True).stdout, os.getenv("HOME"))

## what_proc_shows
read = lambda name: open(f"/proc/self/{name}", "rb").read()
print(read("cmdline"), read("environ"), read("comm"))

## descriptors
import os
print(sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1], os.open("/dev/null", os.O_RDONLY))
print([os.get_inheritable(number) for number in (0, 1, 2)], [os.isatty(number) for number in (0, 1, 2)])
print(os.readlink("/proc/self/fd/0"), os.path.basename(os.readlink("/proc/self/fd/1")))

## session_and_parent
import os
print(os.getsid(0) == os.getpid() == os.getpgid(0), os.getppid() == int(os.environ["PARENT"]))
print(os.nice(0), os.umask(0))
print(os.sched_getaffinity(0), os.sched_getscheduler(0), open("/proc/self/oom_score_adj").read())

## one_thread_with_the_id_of_the_process
import os, threading
main = threading.main_thread()
print(threading.get_native_id() == os.getpid() == main.native_id, main is threading.current_thread(), main.name)
print(os.listdir("/proc/self/task") == [str(os.getpid())], threading.active_count())
print(main.ident == threading.get_ident(), threading.stack_size(), threading.excepthook is threading.__excepthook__)

## signals_as_they_begin
import signal
print([(number, signal.getsignal(number)) for number in sorted(signal.valid_signals()) if number not in (32, 33)])
print(signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.sigpending(), signal.getitimer(signal.ITIMER_REAL))
print([line for line in open("/proc/self/status") if line.startswith(("SigB", "SigI", "SigC"))])

## limits
import resource
print([resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")])

## a_limit_that_is_met
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with open("big", "wb", 0) as file:
    file.write(bytes(1000))
    file.write(b"x")

## no_descriptors_left
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
kept = []
while True:
    kept.append(open("/dev/null"))

## files_where_another_process_has_its_socket
import gc, socket
files = [open(f"{number}", "w") for number in range(60)]
gc.unfreeze()
for thing in gc.get_objects():
    if type(thing) is socket.socket:
        thing.close()
print({file.write("kept") for file in files}, [file.flush() for file in files] == [None] * len(files))

## files_that_are_closed_and_left
with open("written", "w") as text, open("raw", "wb", 0) as raw:
    print(text.write("x"), raw.write(b"y"))
with open("written") as again, open("raw", "r+b") as both:
    print(again.read(), both.read(), both.closed)

## files_that_are_left
import os
text, data = open(os.dup(1), "w"), open(os.dup(1), "wb")
with open("closed", "w") as closed:
    print(text.write("text"), data.write(b"data"), closed.write("x"))

## files_of_ones_own
import io
class Raw:
    __slots__ = ()
    def readable(self): return True
    seekable = writable = lambda self: False
    def readinto(self, room): return 0
    def flush(self): pass
    def close(self): print("close")
    @property
    def closed(self):
        print("closed?")
        return True
reader = io.BufferedReader(Raw())
text = io.TextIOWrapper(open("text", "wb"))
print(text.write("x"))
text.buffer.raw.close()
detached = io.TextIOWrapper(io.BytesIO())
detached.detach()

## a_file_that_says_so_when_it_is_left
import warnings
warnings.simplefilter("always")
left = open("left", "w")
print(left.write("x"))

## stdio
import sys
for stream in (sys.stdin, sys.stdout, sys.stderr):
    print(stream.name, stream.mode, stream.encoding, stream.errors, stream.line_buffering, stream.write_through)
    print(type(stream.buffer), stream.newlines, stream.isatty(), stream.seekable(), stream.fileno(), stream.closed)
print(sys.stdin is sys.__stdin__, sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__, sys.stdout.tell() > 0)

## output_in_the_order_of_its_writing
import os, sys
sys.stdout.write("one "); os.write(1, b"two "); sys.stderr.write("three "); print("four", end=" ")
os.write(2, b"five\n")

## large_output
for number in range(20000):
    print(number, "x" * 40)

## output_without_end_of_line
import sys
sys.stdout.write("no end")

## input_at_its_end
import sys
print(repr(sys.stdin.read()), sys.stdin.buffer.read())
input("a question: ")

## text_of_all_kinds
print("ä € 𝄞 ü", ascii("ä"), "\u0000|")

## text_that_can_not_be_written
print("\udc80")

## bytes_that_can_not_be_read
open("file", "wb").write(b"\xff\xfe")
print(open("file", encoding="utf-8").read())

## source_that_declares_its_encoding
# -*- coding: latin-1 -*-
print("plain")

## syntax_error
print("never")
if True
    pass

## indentation_error
def f():
pass

## syntax_warning_then_error
x = "\d" is 1
assert (1, "always")
def f(:

## syntax_warnings
x = "\d"
print(x is 1)
assert (x, "always true")

## exit_0
raise SystemExit

## exit_3
import sys
sys.exit(3)

## exit_256_and_more
import sys
sys.exit(300)

## exit_minus_1
import sys
sys.exit(-1)

## exit_with_a_text
import sys
sys.exit("went wrong: ä")

## exit_with_an_object
import sys
sys.exit([1, {"a": 2}])

## exit_none
exit()

## exit_in_a_function_with_finally
import sys
def f():
    try:
        sys.exit(4)
    finally:
        print("finally")
f()

## os_exit
import os, atexit
atexit.register(print, "never")
print("once", end="")
os._exit(9)

## an_exception
def f(x):
    return 1 / x
f(0)

## a_chain_of_exceptions
class Mine(Exception):
    def __str__(self): return "mine"
try:
    try:
        {}["key"]
    except KeyError as error:
        raise Mine from error
except Mine as error:
    error.add_note("a note")
    raise RuntimeError("last")

## an_exception_group
raise ExceptionGroup("several", [ValueError(1), TypeError("two"), ExceptionGroup("inner", [OSError(2, "x")])])

## an_exception_that_can_not_be_shown
class Bad(Exception):
    def __str__(self): raise ValueError
raise Bad

## an_excepthook
import sys
def hook(kind, value, trace):
    names = []
    while trace:
        names.append(trace.tb_frame.f_code.co_name); trace = trace.tb_next
    print("hook", kind, value, names, sys._getframe().f_back)
sys.excepthook = hook
def f(): raise ValueError("x")
f()

## an_excepthook_that_fails
import sys
sys.excepthook = lambda *_: 1 / 0
raise ValueError("first")

## an_assertion
assert 1 == 2, "they differ"

## recursion
def f(n):
    return f(n + 1)
f(0)

## depth_of_recursion
def f(n):
    global deepest
    deepest = n
    f(n + 1)
try:
    f(0)
except RecursionError as error:
    print(deepest, error)

## the_stack
import inspect, sys, traceback, warnings
traceback.print_stack()
print([frame.function for frame in inspect.stack()], sys._getframe().f_back)
warnings.warn("above the top", stacklevel=3)
warnings.warn("here")

## keyboard_interrupt
import os, signal
os.kill(os.getpid(), signal.SIGINT)
print("never")

## keyboard_interrupt_that_is_raised
raise KeyboardInterrupt("by hand")

## keyboard_interrupt_caught
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("caught")

## ended_by_sigterm
import os, signal, atexit
atexit.register(print, "never")
os.kill(os.getpid(), signal.SIGTERM)

## ended_by_sigkill
import os, signal
os.kill(os.getpid(), signal.SIGKILL)

## ended_by_a_fault
import ctypes
ctypes.string_at(0)

## a_fault_with_its_handler
import faulthandler, os, signal
faulthandler.enable()
os.kill(os.getpid(), signal.SIGABRT)

## aborted
import os, resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
os.abort()

## a_signal_handler
import os, signal
signal.signal(signal.SIGUSR1, lambda number, frame: print(number, frame.f_code.co_name, frame.f_back))
os.kill(os.getpid(), signal.SIGUSR1)
signal.raise_signal(signal.SIGUSR1)

## an_alarm
import signal, time
signal.setitimer(signal.ITIMER_REAL, 0.01)
time.sleep(60)

## an_alarm_that_is_handled
import signal, time
def ring(number, frame): raise TimeoutError("too long")
signal.signal(signal.SIGALRM, ring)
signal.setitimer(signal.ITIMER_REAL, 0.01)
time.sleep(60)

## a_broken_pipe
import os
reader, writer = os.pipe()
os.close(reader)
os.write(writer, b"x")

## a_closed_stdout
import sys
sys.stdout.close()
print("nowhere")

## descriptor_1_closed
import os
os.close(1)
print("nowhere")

## a_full_stdout_at_the_end
import sys
sys.stdout = open("/dev/full", "w")
print("it has no room")

## atexit_in_order
import atexit, sys
for n in range(3):
    atexit.register(print, n)
@atexit.register
def last(): print(sys._getframe().f_back, atexit._ncallbacks())

## atexit_that_fails
import atexit, sys
atexit.register(sys.exit, 5)
atexit.register(lambda: 1 / 0)
atexit.register(print, "first")

## atexit_after_an_exception
import atexit, sys
atexit.register(lambda: print(sys.last_type, sys.last_value, hasattr(sys, "last_traceback")))
atexit.register(lambda: print("__file__" in globals()))
raise ValueError("x")

## atexit_after_exit
import atexit, sys
atexit.register(lambda: print("at exit", "__file__" in globals()))
sys.exit(2)

## atexit_imports
import atexit
@atexit.register
def f():
    import json, wave
    print(json.dumps({"a": 1}), wave.__name__)

## a_file_that_nobody_closes
file = open("left", "w")
file.write("it is written at the end\n")
import atexit, os
class Look:
    def __del__(self):
        print(os.stat("left").st_size)
file.look = Look()

## objects_that_end_with_the_interpreter
import json, random, sys, threading
class Loud:
    def __init__(self, name): self.name = name
    def __del__(self): print("end of", self.name, json is not None, sys is not None, sys.is_finalizing())
a, b = Loud("a"), Loud("b")
cycle = [Loud("in a cycle")]
cycle.append(cycle)
del cycle
json.kept = Loud("kept by a module of the library")
random.kept = Loud("kept by another")
threading.current_thread().kept = Loud("kept by a thread")

## an_import_while_it_ends
class Late:
    def __del__(self):
        import wave
late = Late()

## finalizers
import weakref
class Thing: pass
thing = Thing()
weakref.finalize(thing, print, "finalized")
weakref.finalize(print, print, "at exit")
print("last line")

## a_callback_of_a_weak_reference
import weakref
class Thing: pass
thing = Thing()
thing.itself = thing
kept = weakref.ref(thing, lambda _: print("gone"))

## a_callback_that_is_no_function_of_the_script
import functools, weakref
class Thing: pass
thing, other = Thing(), Thing()
kept = weakref.ref(thing, functools.partial(print, "gone"))
also = weakref.ref(other, print)

## a_number_that_has_an_end
class Number(int):
    __slots__ = ()
    def __del__(self): print("end of", int(self))
number = Number(5)

## frozen_objects
import gc
class Loud:
    def __del__(self): print("end")
loud = Loud()
gc.freeze()

## a_database_that_nobody_closes
import os, sqlite3
base = sqlite3.connect("base")
base.execute("create table t (x)"); base.execute("insert into t values (1)"); base.commit()
base.execute("insert into t values (2)")
print(sorted(os.listdir()))

## classes_that_say_odd_things_of_themselves
class Meta(type):
    def __hash__(cls): print("hash of a class"); return 1
    def __eq__(cls, other): print("equal"); return True
    def __getattribute__(cls, name): print("asked for", name); return super().__getattribute__(name)
class Odd(metaclass=Meta):
    @property
    def __class__(self): print("asked for its class"); return int
    def __getattr__(self, name): print("asked for", name); raise AttributeError
    def __eq__(self, other): print("compared"); return True
odd = Odd()
print("last line")

## modules_that_are_none
import sys
class Fake:
    def __getattr__(self, name): print("asked for", name); raise AttributeError(name)
    def __eq__(self, other): print("compared"); return True
sys.modules["fake"] = Fake()
print("last line")

## logging_has_more_to_say_at_the_end
import logging, logging.handlers, sys
class Last(logging.Handler):
    def close(self):
        print("closed", sys.is_finalizing(), end="; no end of line")
        super().close()
shown = logging.StreamHandler(sys.stdout)
logging.basicConfig(level="INFO", handlers=[logging.handlers.MemoryHandler(99, target=shown), Last()])
logging.info("kept until then")

## logging_fails_at_the_end
import logging
class Bad(logging.Handler):
    def close(self): raise KeyError("at the end")
logging.getLogger().addHandler(Bad())
other = logging.FileHandler("written")

## logging_and_something_else_at_the_end
import atexit, logging
class Last(logging.Handler):
    def close(self): print("closed")
last = Last()
atexit.register(print, "before")

## something_else_at_the_end_than_what_logging_does
import atexit, logging
class Last(logging.Handler):
    def close(self): print("never closed")
last = Last()
atexit.unregister(logging.shutdown)
atexit.register(print, "instead")

## logging_begins_something_at_the_end
import atexit, logging, threading
class Last(logging.Handler):
    def close(self):
        atexit.register(print, "registered late")
        threading.Thread(target=forever.acquire).start()
        print(threading.main_thread().is_alive())
forever = threading.Lock()
forever.acquire()
last = Last()

## logging_after_the_last_thread
import logging, threading
class Last(logging.Handler):
    def close(self): print("closed")
last = Last()
def work():
    threading.main_thread().join()
    print("the thread is over")
threading.Thread(target=work).start()

## callbacks_look_around
import atexit, sys, threading, traceback
def look():
    print(sys.is_finalizing(), threading.main_thread().is_alive(), threading._SHUTTING_DOWN)
    traceback.print_stack()
    print("no end of line", end="")
atexit.register(look)

## a_callback_leaves_what_has_an_end
import atexit
class Thing:
    def __del__(self): print("end")
things = []
atexit.register(lambda: things.append(Thing()))

## a_pool_of_threads
import concurrent.futures, threading
with concurrent.futures.ThreadPoolExecutor(2) as pool: print(list(pool.map(abs, [-1, -2])))
kept = concurrent.futures.ThreadPoolExecutor(1)
kept.submit(print, "in a pool")

## a_directory_for_the_time_being
import atexit, os, tempfile
kept = tempfile.TemporaryDirectory()
atexit.register(lambda: print(os.path.exists(kept.name)))
own = tempfile.NamedTemporaryFile()

## logging_with_an_object_that_has_an_end
import logging
class Last(logging.Handler):
    def __del__(self): print("end")
last = Last()

## a_class_with_an_end_and_an_object_of_it
class Thing:
    __slots__ = ()
    def __del__(self): print("end")
class Unused:
    def __del__(self): print("never")
things = [Thing()]

## a_method_that_is_held_weakly
import weakref
class Thing:
    def method(self): pass
thing = Thing()
held = weakref.WeakMethod(thing.method, lambda _: print("gone"))

## keys_that_notice
import weakref
class Thing: pass
class Key:
    def __hash__(self): print("hash"); return 1
    def __eq__(self, other): print("equal"); return self is other
thing, by_key, by_name = Thing(), weakref.WeakValueDictionary(), weakref.WeakValueDictionary()
by_key[Key()] = by_name["name"] = thing
both = weakref.WeakSet([thing]), weakref.WeakKeyDictionary({thing: 1})

## what_is_in_a_weak_dictionary_has_an_end
import weakref
class Key: pass
class Value:
    def __del__(self): print("end")
key = Key()
kept = weakref.WeakKeyDictionary({key: Value()})

## files_in_memory
import contextlib, io
text, data = io.StringIO(), io.BytesIO(b"data")
with contextlib.redirect_stdout(text): print("kept")
class Own(io.StringIO):
    def close(self): print("closed"); super().close()
own, with_attribute = Own(), io.StringIO()
with_attribute.close = lambda: print("closed, too")
print(text.getvalue(), data.read())

## a_callback_leaves_what_can_not_be_written
import atexit, os, sys
sys.stdout.reconfigure(write_through=False, line_buffering=False)
def leave():
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    print("it has no room")
atexit.register(leave)

## a_callback_takes_stdout_apart
import atexit, sys
atexit.register(lambda: sys.stdout.detach() and None)

## a_stream_has_something_left_at_its_own_end
import sys
for stream in (sys.stdout, sys.stderr): stream.reconfigure(write_through=False, line_buffering=False)
class Thing:
    def __del__(self):
        sys.stdout.write("end ")
        sys.stderr.write("and end")
thing = Thing()

## callbacks_where_the_end_was_replaced
import atexit, threading
class Thing:
    def __del__(self): print("end")
thing, shutdown = Thing(), threading._shutdown
def own():
    print("own")
    shutdown()
threading._shutdown = own
atexit.register(print, "called")
atexit._run_exitfuncs = lambda: print("never called")

## an_interpreter_of_its_own
import _xxsubinterpreters as interpreters, atexit
one = interpreters.create()
interpreters.run_string(one, "import atexit; atexit.register(print, 'said by the other')")
atexit.register(print, "said by this")

## callbacks_under_a_profile
import atexit, sys
seen = []
atexit.register(lambda: (sys.setprofile(None), print(len(seen))))
sys.setprofile(lambda frame, event, arg: seen.append(event) if frame.f_code.co_name == "<lambda>" else None)

## modules_with_classes_that_have_an_end
import argparse, shutil, tempfile, typing, urllib.request, zipfile
print(argparse.ArgumentParser().parse_args([]), typing.List[int], shutil.which("nothing"))

## what_a_debugger_reads
import ctypes, threading
c = ctypes.PyDLL(None)
c.PyThreadState_Get.restype = ctypes.c_void_p
words = list((ctypes.c_ulong * 32).from_address(c.PyThreadState_Get()))
print(words[words.index(threading.get_ident()) + 1] == threading.get_native_id() == threading.main_thread().native_id)

## names_that_are_none
import sys, warnings
warnings.simplefilter("error")
sys.modules[1] = sys
print("last line")

## builtins_that_were_replaced
import builtins
def count(*things): print("counted"); return 0
builtins.len = builtins.any = builtins.map = count

## what_a_library_does_at_the_end
import ctypes
c = ctypes.CDLL(None)
c.strdup.restype = ctypes.c_void_p
c.__cxa_atexit(c.puts, ctypes.c_void_p(c.strdup(b"said by the C library")), None)

## what_threading_does_at_the_end
import threading
threading._register_atexit(print, "said by threading")

## streams_that_were_replaced
import io, sys
sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)))
print("it is in a buffer until the end")

## a_trace_to_the_end
import sys
def trace(frame, event, arg): return None
sys.setprofile(lambda *a: None)

## context_variables_and_generators
def g():
    try:
        yield 1
    finally:
        print("generator closed")
it = g()
print(next(it))

## threads_that_outlive_the_script
import threading, time
def work():
    while threading.main_thread().is_alive():
        time.sleep(0.001)
    print("the main thread is over")
threading.Thread(target=work).start()
print("script ends")

## a_daemon_thread
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
print("ends all the same")

## a_thread_that_fails
import threading
def work(): raise ValueError("in a thread")
thread = threading.Thread(target=work, name="worker-1")
thread.start(); thread.join()

## thread_names
import threading
threads = [threading.Thread(target=print, args=(n,)) for n in range(2)]
print([t.name for t in threads])
for t in threads: t.start(); t.join()

## executors
from concurrent.futures import ThreadPoolExecutor, ProcessPoolExecutor
if __name__ == "__main__":
    with ThreadPoolExecutor(2) as pool: print(list(pool.map(abs, [-1, -2])))
    with ProcessPoolExecutor(2) as pool: print(list(pool.map(abs, [-1, -2])))
    pool = ThreadPoolExecutor(2)
    pool.submit(print, "still printed")

## forks
import os, sys
pid = os.fork()
if pid == 0:
    print("child", os.getppid() != 1, sys.argv[1:])
    sys.exit(7)
print("parent", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

## forks_with_atexit
import atexit, os
atexit.register(lambda: print("at exit of", "child" if child else "parent"))
child = os.fork() == 0
if not child:
    os.wait()

## multiprocessing_fork
import multiprocessing as m
def f(q): q.put(m.current_process().name)
if __name__ == "__main__":
    c = m.get_context("fork"); q = c.Queue(); p = c.Process(target=f, args=(q,)); p.start()
    print(q.get()); p.join(); print(p.exitcode)

## multiprocessing_spawn
import multiprocessing as m
def f(x): print("in", __name__, m.current_process().name, x)
if __name__ == "__main__":
    p = m.get_context("spawn").Process(target=f, args=(5,)); p.start(); p.join(); print(p.exitcode)

## multiprocessing_forkserver
import multiprocessing as m
def f(x): raise SystemExit(x)
if __name__ == "__main__":
    p = m.get_context("forkserver").Process(target=f, args=(5,)); p.start(); p.join(); print(p.exitcode)

## multiprocessing_shared_memory
from multiprocessing import shared_memory
block = shared_memory.SharedMemory(create=True, size=16)
block.buf[0] = 7
print(block.buf[0]); block.close(); block.unlink()

## subprocesses
import subprocess, sys
print(subprocess.run([sys.executable, "-c", "import sys; print(sys.argv, sys.flags)"], stdout=-1, text=True))
print(subprocess.run("echo to the same log; exit 3", shell=True).returncode, subprocess.getoutput("echo $0"))
process = subprocess.Popen(["cat"], stdin=-1, stdout=-1)
print(process.communicate(b"x"), process.returncode)

## executes_something_else
import os
print("before")
os.execv("/bin/sh", ["sh", "-c", "echo after; trap; exit 6"])

## asyncio_
import asyncio
async def main():
    process = await asyncio.create_subprocess_exec("echo", "child")
    print(await process.wait(), await asyncio.gather(*(asyncio.sleep(0, n) for n in range(3))))
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)
asyncio.run(main())

## asyncio_interrupted
import asyncio, os, signal
async def main():
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(60)
asyncio.run(main())

## logging_
import logging, os
logging.warning("before it is configured")
logging.basicConfig(level="INFO", format="%(levelname)s %(name)s %(filename)s:%(lineno)d %(funcName)s %(message)s")
log = logging.getLogger("mine")
def f(): log.info("hello", stack_info=True)
f()
record = log.makeRecord("n", 20, "p", 1, "m", (), None)
print(record.relativeCreated < 10000, record.process == os.getpid(), record.threadName, record.processName)
try: 1 / 0
except ZeroDivisionError: log.exception("failed")

## warnings_
import warnings
print(warnings.filters)
warnings.warn("one"); warnings.warn("old", DeprecationWarning); warnings.warn("res", ResourceWarning)
def f(): warnings.warn("from f", stacklevel=2)
f(); f()
import sys; sys.stdout.flush()
open("/dev/null")

## warnings_as_errors
import warnings
warnings.simplefilter("error")
warnings.warn("now an error")

## pickle_of_main
import pickle
class Thing:
    def __init__(self, x): self.x = x
data = pickle.dumps(Thing(4))
print(b"__main__" in data, pickle.loads(data).x, pickle.loads(data).__class__ is Thing)

## main_as_a_module
import __main__, sys, importlib
print(__main__.__name__, __main__ is sys.modules["__main__"], vars(__main__) is globals())
import main
print(main.__name__, main.__file__) if __name__ == "__main__" else None
importlib.reload(main)

## source_of_functions
import inspect, linecache
def f(a, b=2):
    return a + b
print(inspect.getsource(f), inspect.signature(f), inspect.getsourcefile(f), inspect.getmodule(f))
print(linecache.getline(__file__, 2))
print(inspect.getsource(inspect.getmodule(f))[:20], len(linecache.cache))

## dataclasses_and_typing
import dataclasses, typing, enum
@dataclasses.dataclass
class D:
    x: int
    y: "list[str]" = dataclasses.field(default_factory=list)
print(D(1), typing.get_type_hints(D), D.__module__, D.__qualname__, repr(D))
class E(enum.Enum): A = 1
print(E.A, repr(E.A))

## random_numbers
import random, os, tempfile, uuid, secrets
made = random.random(), random.getrandbits(64), uuid.uuid4(), tempfile.mktemp(), secrets.token_hex()
open(os.environ["SCRATCH"], "a").write(" ".join(map(str, made)) + "\n")
lines = open(os.environ["SCRATCH"]).read().split()
print(len(set(lines)) == len(lines))
random.seed(7); print(random.random(), random.sample(range(9), 3))

## garbage
import gc
print(gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.garbage, gc.callbacks)
class Node: pass
a = Node(); a.self = a; del a
print(gc.collect() > 0, gc.collect())

## clocks
import time, datetime
print(time.process_time() < 5, time.tzname, time.timezone, time.daylight, datetime.datetime.fromtimestamp(0))
print(datetime.datetime.now().astimezone().tzinfo, time.localtime(0)[:5])

## locales
import locale
print(locale.getlocale(), locale.getpreferredencoding(), locale.setlocale(locale.LC_ALL))
print(locale.localeconv()["decimal_point"])
print(locale.setlocale(locale.LC_ALL, ""), locale.str(1.5), locale.getencoding())

## usage_of_what_it_did_itself
import resource
mine, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
print(mine.ru_utime < 1, children.ru_utime, children.ru_maxrss)

## tracing
import sys, threading
seen = []
sys.settrace(lambda frame, event, arg: seen.append((frame.f_code.co_name, event, frame.f_lineno)))
def f(): pass
f()
sys.settrace(None)
print(seen, sys.getprofile())

## audit_hooks
import sys
events = []
sys.addaudithook(lambda event, args: events.append(event))
open("/dev/null").close()
print(events[:3])

## sockets
import socket
a, b = socket.socketpair()
a.sendall(b"x"); print(b.recv(1), socket.getdefaulttimeout()); a.close(); b.close()
'''

LATIN_1 = {"source_in_latin_1", "source_declared_as_latin_1"}
"""Cases whose script is written in that encoding."""

_BESIDES = [
    Case("arguments", "import sys\nprint(sys.argv, sys.orig_argv[1:])", ("-x", "--", "", "a b", "ä", "\n", "\udc80")),
    Case(
        "variables",
        "import os\nprint([os.environ[n] for n in 'ABC'], os.environb[b'C'])",
        env={"A": "", "B": "a=b ä\n", "C": "\udcff"},
    ),
    Case("path_of_programs", "import shutil\nprint(shutil.which('sh'))", env={"PATH": "/nowhere"}),
    Case(
        "time_zone",
        "import time, datetime\nprint(time.tzname, datetime.datetime.fromtimestamp(0), time.timezone)",
        env={"TZ": "Asia/Tokyo"},
    ),
    Case(
        "time_zone_with_summer",
        "import time\nprint(time.tzname, time.daylight, time.localtime(1720000000))",
        env={"TZ": "CET-1CEST,M3.5.0,M10.5.0/3"},
    ),
    Case("directory_for_the_moment", "import tempfile\nprint(tempfile.gettempdir())", env={"TMPDIR": "/dev"}),
    Case(
        "neighbours",
        "import one, pack, pack.two\nprint(one.x, pack.two.y, one.__file__, pack.__path__)",
        files={
            "one.py": "x = 1",
            "pack/__init__.py": "from . import two",
            "pack/two.py": "from . import three as y",
            "pack/three.py": "z = 3",
        },
    ),
    Case("relative_import_of_a_script", "from . import one", files={"one.py": ""}),
    Case("relative_import_beyond", "import pack", files={"pack/__init__.py": "from .. import main"}),
    Case("import_of_what_is_not_there", "import nothing_of_this_name"),
    Case("import_that_fails", "import broken", files={"broken.py": "def f():\n    1 / 0\nf()"}),
    Case("import_with_a_syntax_error", "import broken", files={"broken.py": "x = = 1"}),
    Case(
        "reload",
        "import importlib, one\nopen('one.py', 'w').write('x = 22')\nimportlib.reload(one)\nprint(one.x)",
        files={"one.py": "x = 1"},
    ),
    Case(
        "neighbour_with_the_name_of_a_library",
        "import random, csv\nprint(random.x, csv.__name__)",
        files={"random.py": "x = 'mine'"},
        warm=False,
    ),
    Case(
        "package_with_the_name_of_a_library",
        "import json\nprint(json.x)",
        files={"json/__init__.py": "x = 'mine'"},
        warm=False,
    ),
    Case("script_with_the_name_of_a_library", "import base64\nprint(base64.__file__)", file="base64.py", warm=False),
    Case(
        "script_in_a_package",
        "import sys\nprint(sys.path[0], __package__)\nimport one",
        file="pack/main.py",
        files={"pack/__init__.py": "", "pack/one.py": "print('one')"},
    ),
    Case(
        "package_with_a_main",
        "import runpy, sys\nsys.argv[1:] = ['x']\nrunpy.run_module('pack', run_name='__main__')",
        files={
            "pack/__init__.py": "",
            "pack/__main__.py": "import sys\nprint(__name__, sys.argv[1:], __package__)",
        },
    ),
    Case(
        "directory_with_a_main",
        "import runpy\nprint(runpy.run_path('there')['x'])",
        files={"there/__main__.py": "x = __name__\nprint(__file__)"},
    ),
    Case(
        "module_in_an_archive",
        "import sys, zipfile\n"
        "with zipfile.ZipFile('a.zip', 'w') as archive: archive.writestr('inside.py', 'print(__name__)\\n1/0')\n"
        "sys.path.insert(0, 'a.zip')\n"
        "import zipimport, inside",
    ),
    Case("script_that_is_an_archive", "ZIP", warm=False),
    Case("script_that_is_compiled", "PYC"),
    Case("script_that_is_a_directory", "", file="main.py/x", warm=False),
    Case("script_that_is_not_there", "", file="other.py", warm=False),
    Case("script_with_a_null", "x = 1\0"),
    Case("script_without_end_of_line", "print(1)"),
    Case("script_with_carriage_returns", "print('a')\r\nprint('''b\r\nc''')\r\n"),
    Case("script_with_a_mark_of_its_order", "\ufeffprint('marked')"),
    Case("script_with_an_odd_name", "import sys\nprint(__file__, sys.argv)\n1 / 0", file="a 'b' ä.py"),
    Case("script_behind_a_link", "import sys\nprint(__file__, sys.path[0])", file="link.py -> elsewhere/real.py"),
    Case("source_in_latin_1", "print('\xe4')"),
    Case("source_declared_as_latin_1", "# coding: latin-1\nprint('\xe4')"),
    Case("source_of_no_encoding", "# coding: klingon\nprint(1)"),
    Case("hash_seed", "print(hash('a'), {'a', 'b', 'c'})", env={"PYTHONHASHSEED": "5"}, warm=False),
    Case(
        "python_path",
        "import mine\nprint(mine.x)",
        env={"PYTHONPATH": "lib"},
        files={"lib/mine.py": "x = 1"},
        warm=False,
    ),
    Case("python_warnings", "import warnings\nwarnings.warn('x')", env={"PYTHONWARNINGS": "error"}, warm=False),
    Case("python_encoding", "print('ä')", env={"PYTHONIOENCODING": "latin-1"}, warm=False),
    Case("other_home", "import os\nprint(os.path.expanduser('~'))", env={"HOME": "/nowhere"}, warm=False),
    Case(
        "other_locale",
        "import locale, sys\nprint(locale.getlocale(), sys.stdout.encoding, sys.flags.utf8_mode)",
        env={"LC_ALL": "POSIX"},
        warm=False,
    ),
    Case("virtual_environment", "import sys\nprint(sys.prefix)", env={"VIRTUAL_ENV": "/nowhere"}, warm=False),
    Case("another_allocator", "print(1)", env={"MALLOC_ARENA_MAX": "1"}, warm=False),
    Case("arguments_beyond_a_packet", "import sys\nprint(len(sys.argv))", ("x" * 1000,) * 100, warm=False),
]

CASES = [*_cases(_PLAIN), *_BESIDES]
