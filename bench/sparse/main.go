// Command sparse makes a checkpoint of any size that takes hardly any disk: the
// shards have true headers for the model that a config.json describes, and holes
// in place of the data.
//
//	go run ./bench/sparse CONFIG.json OUT [MAX_SHARD_SIZE]
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/safetensors"
)

func main() {
	if len(os.Args) < 3 || len(os.Args) > 4 {
		log.Fatal("usage: sparse CONFIG.json OUT [MAX_SHARD_SIZE]")
	}
	size := "5GB"
	if len(os.Args) == 4 {
		size = os.Args[3]
	}
	if err := run(os.Args[1], os.Args[2], size); err != nil {
		log.Fatal(err)
	}
}

func run(configFile, out, size string) error {
	maxShard, err := safetensors.ParseSize(size)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(configFile)
	if err != nil {
		return err
	}
	config, err := hfconfig.Parse(text)
	if err != nil {
		return err
	}
	x, err := hfconfig.Builtin().Expect(config, nil)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "config.json"), text, 0o644); err != nil {
		return err
	}
	var shards [][]safetensors.TensorInfo
	var used, total uint64
	for t := range x.All(hfconfig.Save) {
		info := safetensors.TensorInfo{Name: t.Name, DType: safetensors.BF16, Shape: t.Shape}
		bytes := 2 * info.Elements()
		if len(shards) == 0 || used+bytes > maxShard {
			shards, used = append(shards, nil), 0
		}
		shards[len(shards)-1] = append(shards[len(shards)-1], info)
		used, total = used+bytes, total+bytes
	}
	var index strings.Builder
	fmt.Fprintf(&index, `{"metadata": {"total_size": %d}, "weight_map": {`, total)
	comma := ""
	for i, tensors := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		if len(shards) == 1 {
			name = "model.safetensors"
		}
		if err := writeSparse(filepath.Join(out, name), tensors); err != nil {
			return err
		}
		for _, t := range tensors {
			fmt.Fprintf(&index, "%s\n%q: %q", comma, t.Name, name)
			comma = ","
		}
	}
	if len(shards) > 1 {
		index.WriteString("}}\n")
		return os.WriteFile(filepath.Join(out, "model.safetensors.index.json"), []byte(index.String()), 0o644)
	}
	return nil
}

// writeSparse writes a file whose tensors are holes.
func writeSparse(name string, tensors []safetensors.TensorInfo) error {
	header, size, err := sparseHeader(tensors)
	if err != nil {
		return err
	}
	if err := os.WriteFile(name, header, 0o644); err != nil {
		return err
	}
	return os.Truncate(name, size)
}

// sparseHeader returns the head of a file of these tensors and the file's size.
func sparseHeader(tensors []safetensors.TensorInfo) ([]byte, int64, error) {
	var text strings.Builder
	text.WriteString(`{"__metadata__":{"format":"pt"}`)
	end := uint64(0)
	for _, t := range tensors {
		begin := end
		end += t.Elements() * uint64(t.DType.Bits()) / 8
		fmt.Fprintf(&text, `,%q:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, t.Name, t.DType, strings.ReplaceAll(fmt.Sprint(t.Shape), " ", ","), begin, end)
	}
	text.WriteString("}")
	for text.Len()%8 != 0 {
		text.WriteByte(' ')
	}
	head := make([]byte, 8, 8+text.Len())
	for i, n := 0, text.Len(); i < 8; i, n = i+1, n>>8 {
		head[i] = byte(n)
	}
	head = append(head, text.String()...)
	_, err := safetensors.NewFile(sparseReader(head), int64(len(head))+int64(end), nil)
	return head, int64(len(head)) + int64(end), err
}

// sparseReader reads its bytes, and zeros after them.
type sparseReader []byte

func (s sparseReader) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(s)) {
		copy(p, s[off:])
	}
	return len(p), nil
}
