package safetensors_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/safeckpt/safeckpt/safetensors"
)

func ExampleWriteFile() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "model.safetensors")

	tensors := []safetensors.TensorData{
		safetensors.NewTensorData("weight", []uint64{2, 2}, []float32{1, 2, 3, 4}),
		safetensors.NewTensorData("ids", []uint64{3}, []int64{7, 8, 9}),
	}
	err = safetensors.WriteFile(context.Background(), name, tensors, map[string]string{"format": "pt"}, nil)
	if err != nil {
		log.Fatal(err)
	}

	f, err := safetensors.Open(name, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	for name, t := range f.All() {
		fmt.Println(name, t.Info().DType, t.Info().Shape)
	}
	// Output:
	// ids I64 [3]
	// weight F32 [2 2]
}

// A Writer takes data when it comes: here the second tensor first, in pieces.
func ExampleNewWriter() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	w, err := safetensors.NewWriter(filepath.Join(dir, "model.safetensors"), []safetensors.TensorInfo{
		{Name: "a", DType: safetensors.BF16, Shape: []uint64{2}},
		{Name: "b", DType: safetensors.U8, Shape: []uint64{6}},
	}, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer w.Abort() // does nothing after Commit

	b, _ := w.Tensor("b")
	fmt.Fprint(b, "abc")
	b.WriteAt([]byte("def"), 3)
	fmt.Println(w.Commit() != nil, "as long as a is missing")

	a, _ := w.Tensor("a")
	data, _ := safetensors.EncodeFloat32(nil, safetensors.BF16, []float32{1, 2})
	a.ReadFrom(bytes.NewReader(data))
	if err := w.Commit(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(w.Size(), "bytes")
	// Output:
	// true as long as a is missing
	// 130 bytes
}

func ExampleNewModelWriter() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	size, _ := safetensors.ParseSize("1KB")
	m, err := safetensors.NewModelWriter(dir, []safetensors.TensorInfo{
		{Name: "embed.weight", DType: safetensors.F32, Shape: []uint64{20, 10}},
		{Name: "head.weight", DType: safetensors.F32, Shape: []uint64{20, 10}},
	}, map[string]string{"format": "pt"}, &safetensors.ModelWriterOptions{MaxShardSize: size})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Abort()
	for _, file := range m.Files() {
		for _, info := range m.Tensors(file) {
			t, _ := m.Tensor(info.Name)
			t.Write(make([]byte, t.Size()))
		}
	}
	if err := m.Commit(); err != nil {
		log.Fatal(err)
	}
	index, _ := os.ReadFile(filepath.Join(dir, "model.safetensors.index.json"))
	fmt.Printf("%s", index)
	// Output:
	// {
	//   "metadata": {
	//     "total_parameters": 400,
	//     "total_size": 1600
	//   },
	//   "weight_map": {
	//     "embed.weight": "model-00001-of-00002.safetensors",
	//     "head.weight": "model-00002-of-00002.safetensors"
	//   }
	// }
}

func ExampleRewrite() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "model.safetensors")
	tensors := []safetensors.TensorData{safetensors.NewTensorData("w", []uint64{1}, []float32{1})}
	if err := safetensors.WriteFile(context.Background(), name, tensors, nil, nil); err != nil {
		log.Fatal(err)
	}

	err = safetensors.Rewrite(context.Background(), name, name, &safetensors.RewriteOptions{
		Metadata: func(map[string]string) map[string]string {
			return map[string]string{"format": "pt", "step": "1000"}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	f, err := safetensors.Open(name, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	fmt.Println(f.Header().Metadata)
	// Output: map[format:pt step:1000]
}

// The second half of each row, and then the last row alone.
func ExampleTensor_Slice() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "model.safetensors")
	tensors := []safetensors.TensorData{safetensors.NewTensorData("w", []uint64{2, 4}, []float32{0, 1, 2, 3, 4, 5, 6, 7})}
	if err := safetensors.WriteFile(context.Background(), name, tensors, nil, nil); err != nil {
		log.Fatal(err)
	}
	f, err := safetensors.Open(name, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	w, err := f.Tensor("w")
	if err != nil {
		log.Fatal(err)
	}

	half, err := w.Slice(safetensors.All(), safetensors.Span(2, safetensors.End))
	if err != nil {
		log.Fatal(err)
	}
	values, err := safetensors.AppendFloat32(nil, half)
	fmt.Println(half.Info().Shape, values, err)

	last, err := w.Slice(safetensors.At(-1))
	if err != nil {
		log.Fatal(err)
	}
	values, err = safetensors.AppendFloat32(nil, last)
	fmt.Println(last.Info().Shape, values, err, last.Contiguous())
	// Output:
	// [2 2] [2 3 6 7] <nil>
	// [4] [4 5 6 7] <nil> true
}
