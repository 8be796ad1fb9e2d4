package pickle

// The opcodes of protocols 0 to 5.
const (
	opMark            = '('
	opStop            = '.'
	opPop             = '0'
	opPopMark         = '1'
	opDup             = '2'
	opFloat           = 'F'
	opInt             = 'I'
	opBinInt          = 'J'
	opBinInt1         = 'K'
	opLong            = 'L'
	opBinInt2         = 'M'
	opNone            = 'N'
	opPersID          = 'P'
	opBinPersID       = 'Q'
	opReduce          = 'R'
	opString          = 'S'
	opBinString       = 'T'
	opShortBinString  = 'U'
	opUnicode         = 'V'
	opBinUnicode      = 'X'
	opAppend          = 'a'
	opBuild           = 'b'
	opGlobal          = 'c'
	opDict            = 'd'
	opEmptyDict       = '}'
	opAppends         = 'e'
	opGet             = 'g'
	opBinGet          = 'h'
	opInst            = 'i'
	opLongBinGet      = 'j'
	opList            = 'l'
	opEmptyList       = ']'
	opObj             = 'o'
	opPut             = 'p'
	opBinPut          = 'q'
	opLongBinPut      = 'r'
	opSetItem         = 's'
	opTuple           = 't'
	opEmptyTuple      = ')'
	opSetItems        = 'u'
	opBinFloat        = 'G'
	opBinBytes        = 'B'
	opShortBinBytes   = 'C'
	opProto           = 0x80
	opNewObj          = 0x81
	opExt1            = 0x82
	opExt2            = 0x83
	opExt4            = 0x84
	opTuple1          = 0x85
	opTuple2          = 0x86
	opTuple3          = 0x87
	opNewTrue         = 0x88
	opNewFalse        = 0x89
	opLong1           = 0x8a
	opLong4           = 0x8b
	opShortBinUnicode = 0x8c
	opBinUnicode8     = 0x8d
	opBinBytes8       = 0x8e
	opEmptySet        = 0x8f
	opAddItems        = 0x90
	opFrozenSet       = 0x91
	opNewObjEx        = 0x92
	opStackGlobal     = 0x93
	opMemoize         = 0x94
	opFrame           = 0x95
	opByteArray8      = 0x96
	opNextBuffer      = 0x97
	opReadonlyBuffer  = 0x98
)

// form is what follows an opcode in the stream.
type form uint8

const (
	unknown form = iota
	bare         // nothing
	fixed1       // 1, 2, 4, 8 bytes, little-endian
	fixed2
	fixed4
	fixed8
	float8 // 8 bytes, big-endian
	line   // text up to a newline
	line2  // two of them
	data1  // a length of 1, 4 or 8 bytes, then that many bytes
	data4
	data8
)

var opcodes = [256]struct {
	name string
	form form
}{
	opMark: {"MARK", bare}, opStop: {"STOP", bare}, opPop: {"POP", bare}, opPopMark: {"POP_MARK", bare}, opDup: {"DUP", bare},
	opFloat: {"FLOAT", line}, opInt: {"INT", line}, opBinInt: {"BININT", fixed4}, opBinInt1: {"BININT1", fixed1}, opLong: {"LONG", line},
	opBinInt2: {"BININT2", fixed2}, opNone: {"NONE", bare}, opPersID: {"PERSID", line}, opBinPersID: {"BINPERSID", bare}, opReduce: {"REDUCE", bare},
	opString: {"STRING", line}, opBinString: {"BINSTRING", data4}, opShortBinString: {"SHORT_BINSTRING", data1}, opUnicode: {"UNICODE", line},
	opBinUnicode: {"BINUNICODE", data4}, opAppend: {"APPEND", bare}, opBuild: {"BUILD", bare}, opGlobal: {"GLOBAL", line2}, opDict: {"DICT", bare},
	opEmptyDict: {"EMPTY_DICT", bare}, opAppends: {"APPENDS", bare}, opGet: {"GET", line}, opBinGet: {"BINGET", fixed1}, opInst: {"INST", line2},
	opLongBinGet: {"LONG_BINGET", fixed4}, opList: {"LIST", bare}, opEmptyList: {"EMPTY_LIST", bare}, opObj: {"OBJ", bare}, opPut: {"PUT", line},
	opBinPut: {"BINPUT", fixed1}, opLongBinPut: {"LONG_BINPUT", fixed4}, opSetItem: {"SETITEM", bare}, opTuple: {"TUPLE", bare},
	opEmptyTuple: {"EMPTY_TUPLE", bare}, opSetItems: {"SETITEMS", bare}, opBinFloat: {"BINFLOAT", float8}, opBinBytes: {"BINBYTES", data4},
	opShortBinBytes: {"SHORT_BINBYTES", data1}, opProto: {"PROTO", fixed1}, opNewObj: {"NEWOBJ", bare}, opExt1: {"EXT1", fixed1}, opExt2: {"EXT2", fixed2},
	opExt4: {"EXT4", fixed4}, opTuple1: {"TUPLE1", bare}, opTuple2: {"TUPLE2", bare}, opTuple3: {"TUPLE3", bare}, opNewTrue: {"NEWTRUE", bare},
	opNewFalse: {"NEWFALSE", bare}, opLong1: {"LONG1", data1}, opLong4: {"LONG4", data4}, opShortBinUnicode: {"SHORT_BINUNICODE", data1},
	opBinUnicode8: {"BINUNICODE8", data8}, opBinBytes8: {"BINBYTES8", data8}, opEmptySet: {"EMPTY_SET", bare}, opAddItems: {"ADDITEMS", bare},
	opFrozenSet: {"FROZENSET", bare}, opNewObjEx: {"NEWOBJ_EX", bare}, opStackGlobal: {"STACK_GLOBAL", bare}, opMemoize: {"MEMOIZE", bare},
	opFrame: {"FRAME", fixed8}, opByteArray8: {"BYTEARRAY8", data8}, opNextBuffer: {"NEXT_BUFFER", bare}, opReadonlyBuffer: {"READONLY_BUFFER", bare},
}
