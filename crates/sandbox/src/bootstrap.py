# Runs the code of one node. Standard input has {"code", "inputs", "network", "libraries"}; the
# result goes to standard output as JSON. What the code prints goes to standard error.
import json
import os
import sys


def guard(root, libraries, network):
    """Refuses what a node's code may not do: sockets, processes, foreign memory, others' files."""
    refused = (
        "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.kill",
        "pty.", "ctypes.", "os.symlink", "os.link", "os.chdir", "os.fchdir", "os.chroot",
        "resource.", "gc.", "code.__new__", "sys.addaudithook", "sys.setprofile", "sys.settrace",
        "syslog.", "os.putenv", "signal.", "fcntl.", "mmap.", "sqlite3.",
    )
    sockets = ("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "poplib.", "imaplib.",
               "nntplib.", "telnetlib.")
    modules = ("ctypes", "_ctypes", "_posixsubprocess", "subprocess", "multiprocessing",
               "_multiprocessing", "_testcapi", "_xxsubinterpreters", "_interpreters")
    changes = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.chown",
               "os.lchown", "os.truncate", "os.utime", "os.setxattr", "os.removexattr",
               "shutil.")
    lists = ("os.listdir", "os.scandir", "os.walk", "os.fwalk", "glob.glob", "pathlib.Path.")
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    string, octets, integer, refusal = str, bytes, int, PermissionError
    kind, any_of = type, any

    def inside(path, writes):
        if kind(path) is integer:
            return not writes or path > 2
        if path is None:
            return True
        if kind(path) is octets:
            path = path.decode("utf-8", "surrogateescape")
        if kind(path) is not string or ".." in path.split("/"):
            return False
        if not path.startswith("/"):
            return True
        if path == root or path.startswith(root + "/"):
            return True
        return not writes and any_of([path.startswith(library) for library in libraries])

    def hook(event, args):
        if event == "open":
            if not inside(args[0], bool(args[2] & writing)):
                raise refusal("a node's code opens files in its own folder only")
        elif event == "import":
            if args[0] in modules:
                raise refusal("a node's code does not use " + args[0])
        elif event.startswith(refused):
            raise refusal("a node's code does not use " + event)
        elif not network and event.startswith(sockets):
            raise refusal("this node may not use the network (network: false)")
        elif event.startswith(changes):
            paths = [path for path in args[:2] if kind(path) in (string, octets)]
            if any_of([not inside(path, True) for path in paths]):
                raise refusal("a node's code changes files in its own folder only")
        elif event.startswith(lists) and args and not inside(args[0], False):
            raise refusal("a node's code lists its own folder only")

    sys.addaudithook(hook)


def fail(line, what, code=3):
    where = "" if line is None else "line %d: " % line
    sys.stderr.write("\n\x00" + where + what[:1500])
    sys.stderr.flush()
    os._exit(code)


def line_of(error):
    line, at = None, error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == "<code>":
            line = at.tb_lineno
        at = at.tb_next
    return line


def main():
    request = json.loads(sys.stdin.buffer.read())
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    libraries = [path.rstrip("/") + "/" for path in sys.path if path]
    dumps = json.dumps
    guard(os.getcwd(), libraries, request["network"])
    names = {"__name__": "__main__", "inputs": request["inputs"]}
    try:
        exec(compile(request["code"], "<code>", "exec"), names)
    except SyntaxError as error:
        line = error.lineno if error.filename == "<code>" else line_of(error)
        fail(line, type(error).__name__ + ": " + str(error.msg))
    except MemoryError as error:
        names.clear()
        fail(line_of(error), "there is no more memory", 4)
    except SystemExit as error:
        if error.code not in (None, 0):
            fail(line_of(error), "SystemExit: " + str(error.code))
    except BaseException as error:
        fail(line_of(error), type(error).__name__ + ": " + str(error))
    if "result" not in names:
        fail(None, "the code must assign `result`")
    try:
        text = dumps(names["result"], allow_nan=False, ensure_ascii=False).encode("utf-8")
    except MemoryError:
        fail(None, "there is no more memory", 4)
    except BaseException as error:
        fail(None, "`result` is no JSON: " + str(error))
    answer.write(text)
    answer.flush()
    os._exit(0)


main()
