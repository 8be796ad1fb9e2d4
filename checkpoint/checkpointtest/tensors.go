package checkpointtest

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/safeckpt/safeckpt/safetensors"
)

// A Tensor is a tensor of a file that is being rewritten.
type Tensor struct {
	Name  string
	DType safetensors.DType
	Shape []uint64
	Data  []byte // little-endian, row-major
}

// Rewrite gives all tensors of a safetensors file to edit and writes the file
// again with what it returns. Metadata stays.
func Rewrite(file string, edit func([]Tensor) []Tensor) Damage {
	return func(dir string) error {
		name := filepath.Join(dir, file)
		tensors, metadata, err := readAll(name)
		if err != nil {
			return err
		}
		var out []safetensors.TensorData
		for _, t := range edit(tensors) {
			out = append(out, safetensors.TensorData{
				TensorInfo: safetensors.TensorInfo{Name: t.Name, DType: t.DType, Shape: t.Shape},
				Data:       bytes.NewReader(t.Data),
			})
		}
		return safetensors.WriteFile(context.Background(), name, out, metadata, nil)
	}
}

func readAll(name string) ([]Tensor, map[string]string, error) {
	f, err := safetensors.Open(name, &safetensors.OpenOptions{NoMap: true})
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	var tensors []Tensor
	for _, t := range f.All() {
		info := t.Info()
		data := make([]byte, info.Bytes())
		if err := t.ReadInto(context.Background(), data); err != nil {
			return nil, nil, err
		}
		tensors = append(tensors, Tensor{info.Name, info.DType, slices.Clone(info.Shape), data})
	}
	return tensors, f.Header().Metadata, nil
}

// Drop removes the tensors whose name satisfies which.
func Drop(file string, which func(name string) bool) Damage {
	return Rewrite(file, func(tensors []Tensor) []Tensor {
		return slices.DeleteFunc(tensors, func(t Tensor) bool { return which(t.Name) })
	})
}

// Rename gives every tensor the name that rename returns.
func Rename(file string, rename func(name string) string) Damage {
	return Rewrite(file, func(tensors []Tensor) []Tensor {
		for i := range tensors {
			tensors[i].Name = rename(tensors[i].Name)
		}
		return tensors
	})
}

// Fill sets every byte of a tensor. 0xFF makes NaN of the elements of most
// floating-point types, 0 makes zeros.
func Fill(file, tensor string, b byte) Damage {
	return func(dir string) error {
		found := false
		err := Rewrite(file, func(tensors []Tensor) []Tensor {
			for _, t := range tensors {
				if t.Name == tensor {
					found = true
					for i := range t.Data {
						t.Data[i] = b
					}
				}
			}
			return tensors
		})(dir)
		if err == nil && !found {
			err = fmt.Errorf("%s has no tensor %s", file, tensor)
		}
		return err
	}
}
