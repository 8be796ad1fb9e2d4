package pickle

import "strings"

// unsafeModules are modules of which a checkpoint names nothing: calling them is
// how pickles attack. Their submodules count too. Names are those of both Python
// 2 and 3, since old protocols are translated on loading.
var unsafeModules = set(
	// processes, the system, native code
	"os", "posix", "nt", "posixpath", "ntpath", "subprocess", "_posixsubprocess", "sys", "ctypes", "_ctypes", "_winapi", "winreg", "_winreg",
	// code
	"runpy", "importlib", "pip", "ensurepip", "idlelib", "lib2to3", "numpy.testing", "numpy.f2py", "torch.hub", "torch.utils.cpp_extension", "torch.package",
	// pickles in pickles
	"pickle", "_pickle", "cPickle", "shelve",
	// files and the network
	"shutil", "socket", "_socket", "socketserver", "SocketServer", "http.client", "http.server", "httplib", "urllib.request", "urllib2",
	"requests", "aiohttp", "asyncio", "xmlrpc", "xmlrpclib",
)

// unsafePlain are more of them, without submodules and with names that a training
// script's own packages may have: code.model is none of Python's.
var unsafePlain = set(
	"commands", "popen2", "pty", "platform", "cffi", "mmap", "imp", "pkgutil", "zipimport", "code", "codeop", "bdb", "pdb", "cProfile", "profile",
	"trace", "timeit", "doctest", "pydoc", "venv", "marshal", "tempfile", "glob", "fileinput", "linecache", "ftplib", "telnetlib", "smtplib",
	"poplib", "imaplib", "nntplib", "webbrowser",
)

// unsafeNames are the dangerous names of modules that also hold harmless ones.
var unsafeNames = map[string]map[string]bool{
	"builtins":       unsafeBuiltins,
	"__builtin__":    unsafeBuiltins,
	"__builtins__":   unsafeBuiltins,
	"codecs":         nil, // any but encode
	"_codecs":        nil,
	"io":             set("open", "open_code", "FileIO"),
	"_io":            set("open", "open_code", "FileIO"),
	"types":          set("CodeType", "FunctionType", "LambdaType", "ModuleType"),
	"operator":       set("methodcaller", "attrgetter"),
	"_operator":      set("methodcaller", "attrgetter"),
	"functools":      set("reduce"),
	"joblib":         set("load"),
	"logging.config": set("dictConfig", "fileConfig", "listen"),
	"uuid":           set("_get_command_stdout"),
	"numpy":          set("load", "fromfile", "memmap", "genfromtxt", "loadtxt"),
	"torch":          set("load", "import_ir_module"),
	"torch.jit":      set("load", "script"),
	"torch._C":       set("import_ir_module"),
}

var unsafeBuiltins = set("eval", "exec", "execfile", "compile", "open", "file", "getattr", "setattr", "delattr", "__import__", "reload",
	"input", "raw_input", "breakpoint", "globals", "locals", "vars", "apply", "map", "filter", "reduce", "memoryview", "help", "__build_class__")

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// unsafeGlobal reports whether only an attack would name module.name. The name
// may be dotted (protocol 4), which reaches any module that the named one has
// imported: torch.serialization and os.system is os.system.
func unsafeGlobal(module, name string) bool {
	if unsafePlain[module] || inUnsafeModule(module) || unsafeIn(module, name) {
		return true
	}
	parts := strings.Split(name, ".")
	if len(parts) > maxDots {
		return true
	}
	for i, part := range parts[:len(parts)-1] {
		rest := strings.Join(parts[i+1:], ".")
		if strings.HasPrefix(part, "__") || unsafePlain[part] || inUnsafeModule(part+"."+rest) || unsafeIn(part, rest) {
			return true
		}
	}
	return len(parts) > 1 && strings.HasPrefix(parts[len(parts)-1], "__") // __globals__, __subclasses__
}

// maxDots is more than any class is nested, and bounds the work below.
const maxDots = 16

// inUnsafeModule reports whether the module, or one that it lies in, is unsafe.
func inUnsafeModule(module string) bool {
	for i := 0; i <= len(module); i++ {
		if i == len(module) || module[i] == '.' {
			if unsafeModules[module[:i]] {
				return true
			}
		}
	}
	return false
}

func unsafeIn(module, name string) bool {
	names, listed := unsafeNames[module]
	if !listed {
		return false
	}
	if names == nil {
		return name != "encode"
	}
	first, _, _ := strings.Cut(name, ".")
	return names[name] || names[first]
}
