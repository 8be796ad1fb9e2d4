package peft_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/safeckpt/safeckpt/peft"
)

func ExampleMerge() {
	dir, err := os.MkdirTemp("", "merge")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	stats, err := peft.Merge(context.Background(), "testdata/bases/llama_fp32", "testdata/fixtures/llama_regex", filepath.Join(dir, "merged"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(stats.Changed, "of", stats.Tensors, "tensors changed")

	// This one was saved without being converted to plain LoRA.
	_, err = peft.Merge(context.Background(), "testdata/bases/llama_fp32", "testdata/fixtures/llama_pissa", filepath.Join(dir, "other"), nil)
	var refused *peft.RefusedError
	if errors.As(err, &refused) {
		fmt.Println("refused:", refused.Report.Problems()[0].Code)
	}
	// Output:
	// 4 of 30 tensors changed
	// refused: A060: adapter cannot be merged
}
