package safetensors_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/safetensors"
)

func ExampleOpen() {
	f, err := safetensors.Open("testdata/reference/all-dtypes.safetensors", nil)
	if err != nil {
		log.Fatal(err) // with everything that is wrong with the file
	}
	defer f.Close()
	for name, tensor := range f.All() {
		info := tensor.Info()
		fmt.Println(name, info.DType, info.Shape, info.Bytes())
		break
	}
}

// A file that is refused says all that is wrong with it.
func ExampleFormatError() {
	file := append([]byte("\x70\x00\x00\x00\x00\x00\x00\x00"),
		`{"w":{"dtype":"float32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[4],"data_offsets":[8,16]}}`...)
	_, err := safetensors.NewFile(bytes.NewReader(file), int64(len(file)), nil)
	var refused *safetensors.FormatError
	if errors.As(err, &refused) {
		for _, p := range refused.Report.Problems() {
			fmt.Println(string(p.Code), *p.Offset, p.Message)
		}
	}
	fmt.Println(errors.Is(err, diag.FileTruncated))
	// Output:
	// F002 120 120 of 136 bytes (88.2 %); 2 of 2 tensors incomplete, first: w
	// H009 22 w has dtype "float32", which is none of the format's
	// H010 66 b: F32 [4] takes 16 bytes, data_offsets give 8
	// true
}

// The elements of a mapped tensor, without a copy. Under Guard a file that is cut
// by somebody else is an error and not the end of the process.
func ExampleView() {
	f, err := safetensors.Open("model.safetensors", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	tensor, err := f.Tensor("model.norm.weight")
	if err != nil {
		log.Fatal(err)
	}
	var sum float32
	err = f.Guard(func() error {
		weights, err := safetensors.View[safetensors.BFloat16](tensor)
		for _, w := range weights {
			sum += w.Float32()
		}
		return err
	})
	fmt.Println(sum, err)
}

// The shards of a model, seen as one. What is wrong is in the report; what is
// intact can be read all the same.
func ExampleOpenModel() {
	m, err := safetensors.OpenModel(os.DirFS("checkpoint-500"), nil)
	if err != nil {
		log.Fatal(err) // no model here
	}
	defer m.Close()
	if err := m.Report().Err(); err != nil {
		_ = m.Report().WriteText(os.Stderr, nil)
	}
	for name, tensor := range m.All() {
		data := make([]byte, tensor.Info().Bytes())
		if err := tensor.ReadInto(context.Background(), data); err != nil {
			log.Fatal(err)
		}
		fmt.Println(name, tensor.File().Name())
	}
}

// What a file that should hold weights really is.
func ExampleSniff() {
	head := []byte("version https://git-lfs.github.com/spec/v1\noid sha256:9f2c4d\nsize 4976698672\n")
	if p := safetensors.Sniff(head, int64(len(head))); p != nil {
		fmt.Println(string(p.Code), p.Message)
		fmt.Println(p.Fix)
	}
	// Output:
	// F011 77-byte Git LFS pointer, not weights (wants sha256 9f2c4d, 4.98 GB)
	// git lfs install && git lfs pull
}
