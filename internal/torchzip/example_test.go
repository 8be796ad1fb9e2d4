package torchzip_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/safeckpt/safeckpt/internal/torchzip"
)

// Where the bytes of a tensor of optimizer.pt are, and what the step counter
// says.
func Example() {
	f, err := os.Open("testdata/trainer_optimizer.pt")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	archive, err := torchzip.Open(ctx, f, info.Size())
	if err != nil {
		log.Fatal(err)
	}
	contents, err := archive.Load(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	state := contents.Root.Get("state", 0)
	moment, err := state.Get("exp_avg").Tensor()
	if err != nil {
		log.Fatal(err)
	}
	span, err := contents.Tensor(moment)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%v: %d bytes at %d\n", moment, span.Size, span.Offset)
	step, err := state.Get("step").Tensor()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(contents.Scalar(step))
	_, err = state.Get("exp_avg_max").Tensor()
	fmt.Println(err)
	// Output:
	// float32 [2, 16]: 128 bytes at 2560
	// 10 <nil>
	// .state[0]: .exp_avg_max is missing: a dict of 3 has no such key (at byte 88)
}
