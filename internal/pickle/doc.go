// Package pickle reads Python pickles without running anything.
//
// A pickle is a program: it names functions of any module and calls them. Read
// executes none. Names on an allow-list (Rules, by default Torch) stand for
// values that this package builds itself: dicts, sets, dtypes, tensors. Every
// other name, and every call of one, becomes an inert node that keeps module,
// name, arguments and state, so that objects of unknown classes can be walked
// but nothing of them is believed. Names that only an attack would hold, such as
// os.system, are an error wherever they stand (ErrUnsafe).
//
// # Security
//
// The input is taken to be hostile. Every length is held against the bytes that
// are left before anything is allocated, long strings stay in the file, memory
// is limited by Options.MaxMemory and time by the length of the input. Objects
// that are mentioned many times exist once and are never expanded, and nothing
// here recurses, so that neither deep nor cyclic structures do harm. Only the
// memo entries that the pickle fetches are kept, which takes a first pass over
// its opcodes.
//
// The opcodes are those of protocols 0 to 5, after CPython 3.13
// Lib/pickletools.py and Modules/_pickle.c, and the torch names those of PyTorch
// 2.15 torch/_utils.py and torch/serialization.py.
package pickle
