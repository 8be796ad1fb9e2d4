package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

// unpadded returns a file of that header and data.
func unpadded(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, data)...)
}

func refusal(t testing.TB, data []byte) *safetensors.FormatError {
	t.Helper()
	_, err := safetensors.NewFile(bytes.NewReader(data), int64(len(data)), nil)
	var refused *safetensors.FormatError
	require.ErrorAs(t, err, &refused)
	require.ErrorIs(t, err, safetensors.ErrFormat)
	require.EqualValues(t, len(data), refused.Size)
	return refused
}

// TestAllProblems gives files with several things wrong, and wants every one of
// them with its place.
func TestAllProblems(t *testing.T) {
	type problem struct {
		code   diag.Code
		tensor string
		at     string // the offset is that of this text in the file, or -1
		text   string // in the message
	}
	for _, tt := range []struct {
		name   string
		header string
		data   int
		want   []problem
	}{
		{"fields", `{"a":{"dtype":"float32","shape":[1.0],"data_offsets":[0,4]},"b":{"dtype":3,"shape":{},"data_offsets":[4]},"c":[1],"d":7,"e":{}}`, 4, []problem{
			{diag.HeaderDType, "a", `"float32"`, `dtype "float32"`},
			{diag.HeaderFieldType, "a", `1.0`, "a has 1.0 as a dimension, want an unsigned integer"},
			{diag.HeaderFieldType, "b", `3,"shape"`, "dtype of b is a number, want a string"},
			{diag.HeaderFieldType, "b", `{},"data`, "shape of b is an object, want an array"},
			{diag.HeaderFieldType, "b", `[4]`, "data_offsets of b has 1 number, want two"},
			{diag.HeaderFieldType, "c", `1]`, "dtype of c is a number"},
			{diag.HeaderFieldType, "c", `[1]`, "c is an array of 1"},
			{diag.HeaderFieldType, "d", `7`, "d is a number, want an object"},
			{diag.HeaderFieldMissing, "e", `"e"`, "e has no dtype"},
			{diag.HeaderFieldMissing, "e", `"e"`, "e has no shape"},
			{diag.HeaderFieldMissing, "e", `"e"`, "e has no data_offsets"},
		}},
		{"twice", `{"a":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]},"__metadata__":{"x":1,"y":"z"},"__metadata__":{"y":"a"}}`, 4, []problem{
			{diag.HeaderFieldTwice, "a", `"dtype":"I8"`, "a gives dtype twice"},
			{diag.HeaderMetadata, "", `1,"y"`, "metadata x is a number, want a string"},
			{diag.HeaderFieldTwice, "", `"__metadata__":{"y"`, "__metadata__ is given twice"},
		}},
		{"layout", `{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[2],"data_offsets":[2,6]},` +
			`"c":{"dtype":"F4","shape":[3],"data_offsets":[10,12]},"d":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[12,13]}}`, 15, []problem{
			{diag.HeaderOverlap, "b", "", "b has data_offsets [2,6], inside of a with [0,4]"},
			{diag.HeaderSize, "b", `"b":`, "b: F32 [2] takes 8 bytes, data_offsets give 4"},
			{diag.HeaderHole, "c", "", "4 bytes before c belong to no tensor: it begins at 10, want 6"},
			{diag.HeaderPartialByte, "c", `"c":`, "c: F4 [3] takes 12 bits, want a multiple of 8"},
			{diag.HeaderOverflow, "d", `"d":`, "d: U8 [4294967296,4294967296] has more bits"},
			{diag.FileTrailing, "", "", "2 bytes after the last tensor: the header describes 13 bytes of data, the file has 15"},
		}},
		{"reversed", `{"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}}`, 4, []problem{
			{diag.HeaderReversed, "a", `"a"`, "data_offsets of a are [4,0]"},
		}},
		{"syntax after a problem", `{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32" "shape":[1]}}`, 4, []problem{
			{diag.HeaderDType, "a", `"F33"`, "F33"},
			{diag.HeaderSyntax, "", `"shape":[1]}}`, `'"' where a comma or } is wanted`},
		}},
		{"not UTF-8 and more", "{\"\xe9\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},\"b\":1}", 0, []problem{
			{diag.HeaderUTF8, "", "\xe9", "byte 0xe9 in the header is not valid UTF-8"},
			{diag.HeaderFieldType, "b", `1}`, "b is a number"},
		}},
		{"F4 shape in bytes", `{"a":{"dtype":"F4","shape":[8],"data_offsets":[0,8]}}`, 8, []problem{
			{diag.HeaderSize, "a", `"a"`, "F4 [8] takes 4 bytes, data_offsets give 8"},
		}},
		{"no object", ` []`, 0, []problem{{diag.HeaderNotObject, "", " []", "the header is an array, want an object"}}},
		{"truncated", `{"model.layers.0.w":{"dtype":"U8","shape":[600],"data_offsets":[0,600]},"model.layers.1.w":{"dtype":"U8","shape":[1000],"data_offsets":[600,1600]},` +
			`"model.norm":{"dtype":"U8","shape":[0],"data_offsets":[1600,1600]}}`, 700, []problem{
			{diag.FileTruncated, "model.layers.1.w", "", "922 bytes of 1.82 kB (50.6 %); 2 of 3 tensors incomplete, first: model.layers.1.w"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := unpadded(tt.header, tt.data)
			refused := refusal(t, data)
			problems := refused.Report.Problems()
			for _, want := range tt.want {
				found := false
				for _, p := range problems {
					if p.Code != want.code || p.Tensor != want.tensor || !strings.Contains(p.Message, want.text) {
						continue
					}
					found = true
					require.ErrorIs(t, refused, p.Code)
					require.NotNil(t, p.Offset, p.Message)
					require.NotEmpty(t, p.Cause, p.Message)
					require.NotEmpty(t, p.Fix, p.Message)
					if want.at != "" {
						require.EqualValues(t, strings.Index(string(data), want.at), *p.Offset, p.Message)
					}
				}
				require.True(t, found, "want %s %q in\n%s", want.code, want.text, text(t, refused.Report))
			}
			require.Equal(t, len(tt.want), refused.Report.Count(diag.Error), "\n%s", text(t, refused.Report))
		})
	}
}

func text(t testing.TB, r *diag.Report) string {
	var b strings.Builder
	require.NoError(t, r.WriteText(&b, &diag.TextOptions{Details: 20}))
	return b.String()
}

// TestWarnings gives files that the reference accepts against the format's text.
func TestWarnings(t *testing.T) {
	const ok = `{"dtype":"U8","shape":[1],"data_offsets":[0,1]}`
	for _, tt := range []struct {
		name, header string
		data         int
		want         diag.Code
		at           int64
	}{
		{"duplicate tensor", `{"a":` + ok + `,"a":` + ok + `}`, 1, diag.HeaderDuplicate, 61},
		{"duplicate key", `{"__metadata__":{"k":"1","\u006b":"2"}}`, 0, diag.HeaderDuplicateKey, 33},
		{"leading blank", ` {"a":` + ok + `}`, 1, diag.HeaderLeadingBlanks, 8},
		{"trailing tab", `{"a":` + ok + "} \t ", 1, diag.HeaderTrailing, 62},
		{"array form", `{"a":["U8",[1],[0,1]]}`, 1, diag.HeaderArrayForm, 13},
		{"dtype object", `{"a":{"dtype":{"U8":null},"shape":[1],"data_offsets":[0,1]}}`, 1, diag.HeaderDTypeObject, 22},
		{"metadata null", `{"__metadata__":null}`, 0, diag.HeaderMetadataNull, 24},
		{"extra field", `{"a":{"x":[1e308],"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, diag.HeaderExtraField, 14},
		{"dimension", `{"a":{"dtype":"U8","shape":[0,9223372036854775808],"data_offsets":[0,0]}}`, 0, diag.HeaderDimension, 9},
		{"unaligned header", `{}`, 0, diag.HeaderUnaligned, 0},
		{"unaligned tensor", `{"a":` + ok + `,"b":{"dtype":"F16","shape":[1],"data_offsets":[1,3]}}`, 3, diag.TensorUnaligned, 115},
		{"rank", `{"a":{"dtype":"U8","shape":[` + strings.Repeat("1,", 64) + `1],"data_offsets":[0,1]}}`, 1, diag.HeaderRank, 9},
		{"split row", `{"a":{"dtype":"F4","shape":[2,3],"data_offsets":[0,3]}}`, 3, diag.HeaderSplitRow, 9},
		{"odd name", `{"a\u202eb":` + ok + `}`, 1, diag.HeaderName, 9},
		{"empty name", `{"":` + ok + `}`, 1, diag.HeaderName, 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := unpadded(tt.header, tt.data)
			f, err := safetensors.NewFile(bytes.NewReader(data), int64(len(data)), nil)
			require.NoError(t, err)
			for _, p := range f.Report().Problems() {
				if p.Code == tt.want {
					require.Equal(t, tt.at, *p.Offset)
					require.NotEqual(t, diag.Error, p.Severity)
					return
				}
			}
			t.Fatalf("want %s in\n%s", tt.want, text(t, f.Report()))
		})
	}
}

// TestReportIsBounded gives a header with a problem for each of 100,000 tensors.
func TestReportIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("{")
	for i := range 100_000 {
		fmt.Fprintf(&b, `"t%d":1,`, i)
	}
	b.WriteString(`"x":1}`)
	refused := refusal(t, unpadded(b.String(), 0))
	require.Len(t, refused.Report.Problems(), diag.DefaultLimit+1)
	require.Equal(t, 100_001, refused.Report.Count(diag.Error))
}

// TestKeepsWhatItCan looks at the header of a file that was cut.
func TestKeepsWhatItCan(t *testing.T) {
	data := raw(twoTensors, count(12))
	refused := refusal(t, data[:len(data)-1])
	require.Len(t, refused.Header.Tensors, 2)
	info, ok := refused.Header.Lookup("b")
	require.True(t, ok)
	require.EqualValues(t, 12, info.End)
}

func TestSniff(t *testing.T) {
	zip := func(member string) string {
		return "PK\x03\x04" + strings.Repeat("\x00", 22) + "\x10\x00\x00\x00" + member
	}
	for _, tt := range []struct {
		name, data string
		code       diag.Code
		message    string
		fix        string
	}{
		{"empty", "", diag.FileEmpty, "the file is empty", ""},
		{"zeros", strings.Repeat("\x00", 1000), diag.FileZeros, "the first 1000 of 1000 bytes are all zero", ""},
		{"LFS", "version https://git-lfs.github.com/spec/v1\noid sha256:9f2c4d\nsize 4976698672\n", diag.FileLFSPointer,
			"77-byte Git LFS pointer, not weights (wants sha256 9f2c4d, 4.98 GB)", "git lfs pull"},
		{"annex", "/annex/objects/SHA256E-s5--1234.safetensors\n", diag.FileOther, "git-annex pointer", "git annex get"},
		{"HTML", "\n<!DOCTYPE html>\n<html><head><title>Access denied</title></head></html>", diag.FileHTML, `71-byte web page "Access denied", not weights`, "log in"},
		{"XHTML", `<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">`, diag.FileHTML, "web page", ""},
		{"S3", `<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code><Message>The key does not exist</Message></Error>`, diag.FileXML,
			`XML "The key does not exist" "NoSuchKey"`, "credentials"},
		{"JSON error", `{"error":"Repository not found"}`, diag.FileJSON, `32 bytes of JSON, not weights: {"error":"Repository not found"}`, "hf download"},
		{"index", `{"metadata":{},"weight_map":{}}`, diag.FileJSON, "JSON", ".safetensors.index.json"},
		{"header alone", `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, diag.FileJSON, "JSON", "correct the program"},
		{"torch", zip("archive/data.pkl"), diag.FileZip, "torch.save archive", "weights_only=True"},
		{"npz", zip("a.npy"), diag.FileZip, "numpy archive", "save_file"},
		{"Keras", zip("model.weights.h5"), diag.FileZip, "Keras", ""},
		{"zip", zip("readme.txt"), diag.FileZip, "zip archive", "unzip"},
		{"legacy torch", "\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", diag.FilePickle, "legacy torch.save", ""},
		{"pickle", "\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.", diag.FilePickle, "Python pickle", ""},
		{"GGUF", "GGUF\x03\x00\x00\x00", diag.FileGGUF, "GGUF", ""},
		{"gzip", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", diag.FileOther, "gzip archive", "gunzip"},
		{"zstd", "\x28\xb5\x2f\xfd\x04\x00", diag.FileOther, "zstd archive", ""},
		{"tar", "model/" + strings.Repeat("\x00", 251) + "ustar", diag.FileOther, "tar archive", ""},
		{"HDF5", "\x89HDF\r\n\x1a\n\x00", diag.FileOther, "HDF5", ""},
		{"npy", "\x93NUMPY\x01\x00v\x00", diag.FileOther, "numpy array", ""},
		{"ONNX", "\x08\x08\x12\x07pytorch\x1a\x032.1", diag.FileOther, "ONNX model by pytorch", ""},
		{"text", "Entry not found\n", diag.FileOther, "16 bytes of text, not weights: Entry not found", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := safetensors.Sniff([]byte(tt.data), int64(len(tt.data)))
			require.NotNil(t, p)
			require.Equal(t, tt.code, p.Code)
			require.Contains(t, p.Message, tt.message)
			require.Contains(t, p.Fix, tt.fix)
			require.NotEmpty(t, p.Cause)
			require.NotEmpty(t, p.Fix)

			refused := refusal(t, []byte(tt.data))
			require.Equal(t, 1, refused.Report.Count(diag.Error), "one cause, one problem")
			require.ErrorIs(t, refused, tt.code)
		})
	}
	for _, data := range []string{string(raw(twoTensors, count(12))), "\x01\x02\x03\x04\x05\x06\x07\x08\x09"} {
		require.Nil(t, safetensors.Sniff([]byte(data), int64(len(data))))
	}
}

// TestBigFiles gives files that are too large for memory, most of them not there.
func TestBigFiles(t *testing.T) {
	header := `{"a":{"dtype":"BF16","shape":[4096,1000000],"data_offsets":[0,8192000000]},"b":{"dtype":"BF16","shape":[4194304000],"data_offsets":[8192000000,16580608000]}}`
	whole := int64(8+len(header)) + 16580608000
	r := &countingReader{r: &sparse{unpadded(header, 0), 12412345678}}
	_, err := safetensors.NewFile(r, 12412345678, nil)
	require.ErrorIs(t, err, diag.FileTruncated)
	require.ErrorContains(t, err, "12.41 of 16.58 GB (74.9 %); 1 of 2 tensors incomplete, first: b")

	r = &countingReader{r: &sparse{unpadded(header, 0), whole}}
	f, err := safetensors.NewFile(r, whole, nil)
	require.NoError(t, err)
	require.Equal(t, 1, r.reads)
	require.LessOrEqual(t, r.bytes, int64(64<<10))
	require.NoError(t, f.Close())
}

// A sparse is a file with zeros after its head.
type sparse struct {
	head []byte
	size int64
}

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	n := int(min(int64(len(p)), max(s.size-off, 0)))
	clear(p[:n])
	if off < int64(len(s.head)) {
		copy(p[:n], s.head[off:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func TestLengths(t *testing.T) {
	valid := raw(twoTensors, count(12))
	n := binary.LittleEndian.Uint64(valid)
	for _, tt := range []struct {
		name string
		data []byte
		code diag.Code
		want string
	}{
		{"too short", valid[:7], diag.FileTooShort, "the file has 7 bytes"},
		{"header cut", valid[:50], diag.FileTruncated, fmt.Sprintf("the file ends inside its header: 42 of %d bytes", n)},
		{"only the length", valid[:8], diag.FileTruncated, "0 of "},
		{"big-endian", append(binary.BigEndian.AppendUint64(nil, n), valid[8:]...), diag.HeaderLength, "big-endian"},
		{"four bytes", append(binary.LittleEndian.AppendUint32(nil, uint32(n)), valid[8:]...), diag.HeaderLength, "4 bytes"},
		{"no header", append(make([]byte, 8), "\x01{}"...), diag.HeaderSyntax, "the text ends"},
		{"zeroed header", append(bytes.Clone(valid[:8]), make([]byte, len(valid)-8)...), diag.FileZeros, "bytes of the header are all zero"},
		{"file twice", append(bytes.Clone(valid), valid...), diag.FileTrailing, "another safetensors file"},
		{"zeros after", append(bytes.Clone(valid), 0, 0, 0), diag.FileTrailing, "begins with zeros"},
		{"zip after", append(bytes.Clone(valid), "PK\x03\x04    "...), diag.FileTrailing, "something else was appended (zip archive instead of safetensors)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			refused := refusal(t, tt.data)
			p := refused.Report.Problems()[0]
			require.Equal(t, tt.code, p.Code)
			require.Contains(t, p.Message+p.Cause, tt.want)
		})
	}
}

func TestNamesAreEscapedOnce(t *testing.T) {
	data := raw(`{"a\u001b\"":{"dtype":"F\u001b","shape":[1],"data_offsets":[0,4]},"":{"dtype":"","shape":[0],"data_offsets":[4,4]}}`, make([]byte, 4))
	var messages []string
	for _, p := range refusal(t, data).Report.Problems() {
		messages = append(messages, p.Message)
	}
	require.Equal(t, []string{
		`"a\x1b\"" has dtype "F\x1b", which is none of the format's`,
		`"" has dtype "", which is none of the format's`,
		`the tensor name "a\x1b\"" is empty or has characters that do not show`,
		`the tensor name "" is empty or has characters that do not show`,
	}, messages)
}

// TestDamagedLength flips each bit of the length: one cause gives one problem.
func TestDamagedLength(t *testing.T) {
	valid := raw(twoTensors, []byte("\x80\xff\x00\xc3\x28 {}\x80\xff\x00"))
	for bit := range 64 {
		file := bytes.Clone(valid)
		file[bit/8] ^= 1 << (bit % 8)
		problems := refusal(t, file).Report.Problems()
		require.Len(t, problems, 1, "bit %d: %v", bit, problems)
		p := problems[0]
		switch n := binary.LittleEndian.Uint64(file); {
		case n > uint64(len(valid)-8):
			require.Equal(t, diag.HeaderLength, p.Code, "bit %d: %v", bit, p)
		case n > uint64(len(valid)-8-11):
			require.Equal(t, diag.HeaderSyntax, p.Code, "bit %d: %v", bit, p)
			require.Contains(t, p.Cause, "the first 8 bytes of the file announce", "bit %d", bit)
		default:
			require.Equal(t, diag.HeaderSyntax, p.Code, "bit %d: %v", bit, p)
		}
	}
}

// TestErrorText opens a pointer by name, as a user would see it.
func TestErrorText(t *testing.T) {
	name := filepath.Join(t.TempDir(), "model.safetensors")
	require.NoError(t, os.WriteFile(name, []byte("version https://git-lfs.github.com/spec/v1\noid sha256:9f2c4d\nsize 4976698672\n"), 0o644))
	_, err := safetensors.Open(name, nil)
	require.EqualError(t, err, "safetensors: F011 "+name+": 77-byte Git LFS pointer, not weights (wants sha256 9f2c4d, 4.98 GB); git lfs install && git lfs pull")
	require.True(t, errors.Is(err, diag.FileLFSPointer))
}
