//go:build unix

package main

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/safeckpt/safeckpt/safetensors"
)

//go:embed peer.py
var peerPy string

// compareDecoders decodes the header of a file with n tensors. The file is in
// memory for us and for Rust; our Open and Python's safe_open begin with its name.
func compareDecoders(dir string, n, batch, rounds int, goal float64, rustref, python string) error {
	name := filepath.Join(dir, fmt.Sprintf("%d.safetensors", n))
	file, headerLen := header(n, 2, 0)
	file = append(file, make([]byte, 8*n)...)
	if err := os.WriteFile(name, file, 0o644); err != nil {
		return err
	}
	open := func() (*safetensors.File, error) {
		return safetensors.NewFile(bytes.NewReader(file), int64(len(file)), nil)
	}
	memory := ours("safeckpt, NewFile", open)
	contenders := []*contender{memory}
	var rust *contender
	if rustref != "" {
		c, stop, err := peer("Rust, read_metadata", exec.Command(rustref, "bench", name))
		if err != nil {
			return err
		}
		defer stop()
		rust = c
		contenders = append(contenders, rust)
	}
	byName := ours("safeckpt, Open and Close", func() (*safetensors.File, error) {
		f, err := safetensors.Open(name, nil)
		if err != nil {
			return nil, err
		}
		return f, f.Close()
	})
	contenders = append(contenders, byName)
	var py *contender
	if python != "" {
		c, stop, err := peer("Python, safe_open", exec.Command(python, "-c", peerPy, name))
		if err != nil {
			return err
		}
		defer stop()
		py = c
		contenders = append(contenders, py)
	}
	if err := compete(contenders, rounds, batch); err != nil {
		return err
	}
	allocated, err := allocatedBy(open)
	if err != nil {
		return err
	}

	fmt.Printf("\n## Header of %d tensors, %.3g MB\n\n", n, float64(headerLen)/1e6)
	table(contenders, unitOf(memory))
	if rust != nil {
		verdict("NewFile / Rust, wall", ratio(memory, rust, wall), goal)
		verdict("NewFile / Rust, CPU", ratio(memory, rust, cpu), goal)
		verdict("NewFile / Rust, CPU, result released", ratio(memory, rust, released), goal)
	}
	if py != nil {
		verdict("Open / Python, wall", ratio(byName, py, wall), goal)
	}
	times := float64(allocated) / float64(headerLen)
	verdict("bytes allocated by NewFile / bytes of the header", spread{times, times, times}, 3)
	return nil
}

func unitOf(c *contender) time.Duration {
	if spreadOf(c.of(wall)).median < float64(5*time.Millisecond) {
		return time.Microsecond
	}
	return time.Millisecond
}

// allocatedBy returns how many bytes f allocates.
func allocatedBy(f func() (*safetensors.File, error)) (uint64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, err
}

// names returns the names of n tensors of a mixture of experts, sorted.
func names(n int) []string {
	var all []string
	for layer := 0; len(all) < n; layer++ {
		add := func(format string, args ...any) {
			all = append(all, fmt.Sprintf("model.language_model.layers.%d.", layer)+fmt.Sprintf(format, args...)+".weight")
		}
		for _, m := range []string{"input_layernorm", "post_attention_layernorm", "mlp.gate"} {
			add("%s", m)
		}
		for _, m := range []string{"q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"} {
			add("self_attn.%s", m)
		}
		for expert := range 128 {
			for _, m := range []string{"gate_proj", "up_proj", "down_proj"} {
				add("mlp.experts.%d.%s", expert, m)
			}
		}
	}
	all = all[:n]
	slices.Sort(all)
	return all
}

// header returns the head of a file of n BF16 tensors [rows,2], written as the
// reference writes it, and the length of its text, which is at least atLeast.
func header(n int, rows uint64, atLeast int) (head []byte, length int) {
	var b strings.Builder
	b.WriteString(`{"__metadata__":{"format":"pt"}`)
	size := 4 * rows
	for i, name := range names(n) {
		begin := uint64(i) * size
		fmt.Fprintf(&b, `,%q:{"dtype":"BF16","shape":[%d,2],"data_offsets":[%d,%d]}`, name, rows, begin, begin+size)
	}
	b.WriteByte('}')
	for b.Len() < atLeast || b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	return append(binary.LittleEndian.AppendUint64(nil, uint64(b.Len())), b.String()...), b.Len()
}
