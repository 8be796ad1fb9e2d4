package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/safetensors"
)

// judge reads files, each after its length, and writes one byte each: whether
// the reference accepts it.
const judge = `
import sys, struct, safetensors
data = sys.stdin.buffer.read()
at, out = 0, bytearray()
while at < len(data):
    n = struct.unpack_from("<I", data, at)[0]
    at += 4
    try:
        safetensors.deserialize(data[at:at+n])
        out.append(1)
    except safetensors.SafetensorError:
        out.append(0)
    at += n
sys.stdout.buffer.write(out)
`

// TestVerdictOfMutants holds our verdict on mutants of the conformance cases
// against that of the Python package, which is the Rust crate.
func TestVerdictOfMutants(t *testing.T) {
	python := os.Getenv("SAFECKPT_PYTHON")
	if python == "" {
		t.Skip("NOT COMPARED with the reference: set SAFECKPT_PYTHON to an interpreter that has safetensors 0.8.0")
	}
	cases, _, files := loadConformance(t)
	var seeds [][]byte
	for _, c := range cases {
		if c.Accept && len(files[c.Name]) < 2000 {
			seeds = append(seeds, files[c.Name])
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	var mutants [][]byte
	var input bytes.Buffer
	for range 20_000 {
		m := mutate(rnd, seeds[rnd.IntN(len(seeds))])
		mutants = append(mutants, m)
		input.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(m))))
		input.Write(m)
	}
	cmd := exec.Command(python, "-c", judge)
	cmd.Stdin, cmd.Stderr = &input, os.Stderr
	verdicts, err := cmd.Output()
	require.NoError(t, err)
	require.Len(t, verdicts, len(mutants))
	accepted := 0
	for i, m := range mutants {
		_, err := safetensors.NewFile(bytes.NewReader(m), int64(len(m)), nil)
		require.True(t, err == nil || errors.Is(err, safetensors.ErrFormat))
		require.Equal(t, verdicts[i] == 1, err == nil, "%q: %v", m, err)
		accepted += int(verdicts[i])
	}
	t.Logf("%d mutants, %d accepted", len(mutants), accepted)
	require.Greater(t, accepted, len(mutants)/20, "the mutants test too little")
}

// tokens are what headers are made of, and what decoders trip over.
var tokens = []string{
	`{`, `}`, `[`, `]`, `,`, `:`, `"`, `\`, ` `, "\t", "\n", "\x00", "0", "1", "4", "-", ".", "e", "null", "true", `"F32"`, `"U8"`, `"F4"`,
	`"dtype":`, `"shape":`, `"data_offsets":`, `"__metadata__":`, `"x":`, `"x":1e308,`, `"x":1e309,`, `"x":1.7976931348623158e308,`,
	`"x":1.7976931348623159e308,`, `"x":17976931348623157e292,`, `"x":-1e999,`, `"x":1e-999,`, `"x":0e999,`, `"x":0.0000001e315,`,
	`"x":123456789012345678901234567890,`, `"x":18446744073709551615.9e289,`, `"x":18446744073709551616e289,`, `"x":[[],{}],`, `"x":{"y":-0},`,
	`"\ud83d\ude00":`, `\u0061`, `\ud800`, `\udc00`, `\u00`, "\u00e9", "\xff", "\xc3", `{"F32":null}`, `{"F32":{}}`, `["F32",[1],[0,4]]`, `["U8",[],[0,1],0]`,
	`"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},`, `"z":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},`, `"__metadata__":{"a":"b"},`,
	"18446744073709551615", "18446744073709551616", "9223372036854775808", "-0", "1.0", "1e0", "00",
}

// mutate changes a file a little. Mostly it keeps the length in step with the
// header, since a wrong one is all that would be found otherwise.
func mutate(rnd *rand.Rand, file []byte) []byte {
	m := bytes.Clone(file)
	if len(m) < 10 {
		return m
	}
	n := min(binary.LittleEndian.Uint64(m), uint64(len(m)-8))
	header, data := bytes.Clone(m[8:8+n]), m[8+n:]
	for range 1 + rnd.IntN(6)/5 {
		at := rnd.IntN(len(header) + 1)
		token := tokens[rnd.IntN(len(tokens))]
		switch rnd.IntN(5) {
		case 0: // insert, at the start of a member if possible
			if i := bytes.IndexAny(header[at:], "{,"); i >= 0 {
				at += i + 1
			}
			header = slices.Insert(header, at, []byte(token)...)
		case 1:
			header = slices.Insert(header, at, []byte(token)...)
		case 2: // cut
			header = slices.Delete(header, at, min(at+1+rnd.IntN(3), len(header)))
		case 3: // overwrite
			if at < len(header) {
				header[at] = token[0]
			}
		case 4: // repeat a piece elsewhere
			piece := bytes.Clone(header[at:min(at+rnd.IntN(60), len(header))])
			header = slices.Insert(header, rnd.IntN(len(header)+1), piece...)
		}
	}
	if rnd.IntN(20) == 0 {
		data = append(data, 0)
	}
	if rnd.IntN(20) == 0 {
		n++
	} else {
		n = uint64(len(header))
	}
	return slices.Concat(binary.LittleEndian.AppendUint64(nil, n), header, data)
}
