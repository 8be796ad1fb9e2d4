package safetensors_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/safetensors"
)

// addMutants seeds a target with the conformance cases and mutants of them.
func addMutants(f *testing.F) {
	_, _, files := loadConformance(f)
	for i, name := range slices.Sorted(maps.Keys(files)) {
		if len(files[name]) > 10_000 {
			continue
		}
		f.Add(files[name], uint64(0))
		f.Add(files[name], uint64(2*i+1))
		f.Add(files[name], uint64(2*i+2))
	}
}

// verdictOf tells what we make of a file, in the words of rustref judge without
// the reason of a refusal.
func verdictOf(file []byte) string {
	f, err := safetensors.NewFile(bytes.NewReader(file), int64(len(file)), nil)
	if err != nil {
		return "reject"
	}
	defer f.Close()
	return accepted(f.Header(), file)
}

func accepted(h *safetensors.Header, file []byte) string {
	return fmt.Sprintf("accept %s %x", digest(h), sha256.Sum256(file[h.DataStart():]))
}

// FuzzOracle holds the decoder against the rules of the format over jsontext; see
// oracle. A seed other than 0 makes a mutant of the file.
func FuzzOracle(f *testing.F) {
	addMutants(f)
	f.Fuzz(func(t *testing.T, file []byte, seed uint64) {
		file = seeded(file, seed)
		h, err := oracle(file)
		want := "reject"
		switch err {
		case nil:
			want = accepted(h, file)
		case errUndecided:
			return
		}
		require.Equal(t, want, verdictOf(file), "%q", file)
	})
}

// FuzzRust holds the decoder against the reference implementation: both accept a
// file, and read the same from it, or both refuse it.
func FuzzRust(f *testing.F) {
	program := os.Getenv("SAFECKPT_RUSTREF")
	if program == "" {
		f.Skip("NOT COMPARED with the reference: set SAFECKPT_RUSTREF to the program built in bench/rustref")
	}
	judge := startJudge(f, program)
	addMutants(f)
	f.Fuzz(func(t *testing.T, file []byte, seed uint64) {
		file = seeded(file, seed)
		want, err := judge(file)
		require.NoError(t, err)
		if reason, refused := strings.CutPrefix(want, "reject "); refused {
			require.Equal(t, "reject", verdictOf(file), "%q: %s", file, reason)
			return
		}
		require.Equal(t, want, verdictOf(file), "%q", file)
	})
}

// startJudge starts the reference implementation and returns a function that
// asks it for its verdict on a file.
func startJudge(t testing.TB, program string) func(file []byte) (string, error) {
	cmd := exec.Command(program, "judge")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	answers := bufio.NewReader(out)
	t.Cleanup(func() {
		in.Close()
		_, _ = io.Copy(io.Discard, answers)
		require.NoError(t, cmd.Wait())
	})
	return func(file []byte) (string, error) {
		question := binary.LittleEndian.AppendUint32(nil, uint32(len(file)))
		if _, err := in.Write(append(question, file...)); err != nil {
			return "", err
		}
		answer, err := answers.ReadString('\n')
		return strings.TrimSuffix(answer, "\n"), err
	}
}
