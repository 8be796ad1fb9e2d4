// Prove holds schema files against draws: configs together with what
// transformers saves for them. It reads draws as JSON lines from standard input
// and writes one line per draw: class, number, and what differs ("" if nothing).
//
//	python -m schemagen draws | go run ./hfconfig/schemagen/prove ARCH_DIR
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/hfconfig"
)

// A draw is one config of a class and what save_pretrained writes for it.
type draw struct {
	Class   string              `json:"class"`
	Number  int                 `json:"number"`
	Raw     json.RawMessage     `json:"raw"`     // the keys that were drawn
	Written json.RawMessage     `json:"written"` // the config.json that the model writes
	Native  map[string][]uint64 `json:"native"`
	Save    map[string][]uint64 `json:"save"`
	Ties    map[string]string   `json:"ties"` // dropped name: kept name
}

type verdict struct {
	Class  string `json:"class"`
	Number int    `json:"number"`
	Wrong  string `json:"wrong"`
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: prove ARCH_DIR < draws.jsonl")
	}
	registry, err := load(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	if err := prove(registry, os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func load(dir string) (*hfconfig.Registry, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.arch"))
	if err != nil {
		return nil, err
	}
	var archs []*hfconfig.Arch
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		a, err := hfconfig.ParseArch(text)
		if err != nil {
			log.Printf("%s: %v", filepath.Base(name), err)
			continue
		}
		archs = append(archs, a)
	}
	return new(hfconfig.Registry).With(archs...), nil
}

func prove(r *hfconfig.Registry, in io.Reader, out io.Writer) error {
	w := bufio.NewWriter(out)
	enc := json.NewEncoder(w)
	dec := json.NewDecoder(bufio.NewReader(in))
	for {
		var d draw
		if err := dec.Decode(&d); errors.Is(err, io.EOF) {
			return w.Flush()
		} else if err != nil {
			return err
		}
		v := verdict{Class: d.Class, Number: d.Number}
		for name, config := range map[string]json.RawMessage{"raw": d.Raw, "written": d.Written} {
			if err := d.check(r, config); err != nil && v.Wrong == "" {
				v.Wrong = name + ": " + err.Error()
			}
		}
		if err := enc.Encode(v); err != nil {
			return err
		}
	}
}

// check returns what the schemas say otherwise than transformers.
func (d *draw) check(r *hfconfig.Registry, config []byte) error {
	c, err := hfconfig.Parse(config)
	if err != nil {
		return err
	}
	x, err := r.Expect(c, &hfconfig.ExpectOptions{Class: d.Class})
	if err != nil {
		return err
	}
	if x.Partial {
		return errors.New("the class is not described")
	}
	if err := compare("save", d.Save, x.Tensors(hfconfig.Save)); err != nil {
		return err
	}
	if err := compare("native", d.Native, x.Tensors(hfconfig.Native)); err != nil {
		return err
	}
	return compareTies(d.Ties, x.Tied())
}

func compare(layout string, want, got map[string][]uint64) error {
	var wrong []string
	for name, shape := range want {
		if s, ok := got[name]; !ok {
			wrong = append(wrong, "lacks "+name)
		} else if !slices.Equal(s, shape) {
			wrong = append(wrong, fmt.Sprintf("%s is %v, want %v", name, s, shape))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			wrong = append(wrong, "too much: "+name)
		}
	}
	if wrong == nil {
		return nil
	}
	slices.Sort(wrong)
	n := len(wrong)
	return fmt.Errorf("%s: %d wrong: %s", layout, n, strings.Join(wrong[:min(n, 3)], "; "))
}

func compareTies(want map[string]string, got [][]string) error {
	have := make(map[string]string)
	for _, group := range got {
		for _, dropped := range group[1:] {
			have[dropped] = group[0]
		}
	}
	for dropped, kept := range want {
		if have[dropped] != kept {
			return fmt.Errorf("tie: %s is %q, want %q", dropped, have[dropped], kept)
		}
	}
	if len(have) != len(want) {
		return fmt.Errorf("%d ties, want %d", len(have), len(want))
	}
	return nil
}
