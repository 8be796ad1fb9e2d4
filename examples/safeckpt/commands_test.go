package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/safeckpt/safeckpt/safetensors"
)

// cpdir SRC DST copies a directory.
func cpdir(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.CopyFS(ts.MkAbs(args[1]), os.DirFS(args[0])))
}

// truncate FILE SIZE cuts a file.
func truncate(ts *testscript.TestScript, _ bool, args []string) {
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), size))
}

// retensor FILE OLD NEW replaces OLD by NEW in the names of a file's tensors.
func retensor(ts *testscript.TestScript, _ bool, args []string) {
	name := ts.MkAbs(args[0])
	f, err := safetensors.Open(name, &safetensors.OpenOptions{NoMap: true})
	ts.Check(err)
	var tensors []safetensors.TensorData
	for _, t := range f.All() {
		info := t.Info()
		info.Name = strings.Replace(info.Name, args[1], args[2], 1)
		data, err := io.ReadAll(t.Open())
		ts.Check(err)
		tensors = append(tensors, safetensors.TensorData{TensorInfo: info, Data: bytes.NewReader(data)})
	}
	ts.Check(f.Close())
	ts.Check(safetensors.WriteFile(context.Background(), name, tensors, f.Header().Metadata, nil))
}

// status N PROGRAM ARGS runs a program that must exit with status N.
func status(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d\n%s%s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// jsonAt PATH VALUE holds a place in the JSON on standard output, such as
// .targets.0.kind, against a value. What is absent is null.
func jsonAt(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for _, key := range strings.Split(strings.Trim(args[0], "."), ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[key]
		case []any:
			i, err := strconv.Atoi(key)
			ts.Check(err)
			if i >= len(at) {
				ts.Fatalf("%s: only %d elements", args[0], len(at))
			}
			v = at[i]
		default:
			v = nil
		}
	}
	var got bytes.Buffer
	ts.Check(json.NewEncoder(&got).Encode(v))
	if strings.TrimSpace(got.String()) != args[1] {
		ts.Fatalf("%s is %s, want %s", args[0], got.String(), args[1])
	}
}
