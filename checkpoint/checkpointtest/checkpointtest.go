// Package checkpointtest helps other people's tests: Valid guards a checkpoint
// in CI, and Damaged makes broken copies to see that a program refuses them.
package checkpointtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/diag"
)

// Valid fails the test unless all checkpoints under dir are valid, and then
// prints what is wrong, why, and what to do. A nil o means defaults, with
// RequireConfig set: a test that cannot hold the tensors against a config should
// not pass in silence.
func Valid(t testing.TB, dir string, o *checkpoint.ValidateOptions) {
	t.Helper()
	if o == nil {
		o = &checkpoint.ValidateOptions{RequireConfig: true}
	}
	results, err := checkpoint.ValidateAll(t.Context(), dir, o)
	if err != nil {
		t.Fatalf("cannot check %s: %v", dir, err)
	}
	for _, r := range results {
		if r.Valid() {
			continue
		}
		var text strings.Builder
		_ = r.Report.WriteText(&text, &diag.TextOptions{Indent: "  "}) // a Builder does not fail
		t.Errorf("%s: %s\n%s", r.Path, r.Verdict(), text.String())
	}
}

// A Damage breaks one thing in a checkpoint directory.
type Damage func(dir string) error

// Damaged copies the directory dir into a temporary one, damages the copy and
// returns its path. Sub-directories are copied too; symlinks are followed.
func Damaged(t testing.TB, dir string, damage ...Damage) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), filepath.Base(dir))
	if err := copyDir(dir, copied); err != nil {
		t.Fatal(err)
	}
	for _, d := range damage {
		if err := d(copied); err != nil {
			t.Fatal(err)
		}
	}
	return copied
}

// copyDir copies what symlinks point to, as in a snapshot of the Hugging Face
// cache: a link in the copy would lead the damage to the original.
func copyDir(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, e := range entries {
		src, dst := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		info, err := os.Stat(src)
		if err != nil {
			return err
		}
		if info.IsDir() {
			err = copyDir(src, dst)
		} else {
			var data []byte
			if data, err = os.ReadFile(src); err == nil {
				err = os.WriteFile(dst, data, 0o644)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Truncate cuts a file to a fraction of its size, as an interrupted download or
// a full disk does.
func Truncate(file string, fraction float64) Damage {
	return func(dir string) error {
		name := filepath.Join(dir, file)
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		return os.Truncate(name, int64(float64(info.Size())*fraction))
	}
}

// Remove deletes a file.
func Remove(file string) Damage {
	return func(dir string) error { return os.Remove(filepath.Join(dir, file)) }
}

// Replace gives a file other contents; the file need not exist.
func Replace(file, contents string) Damage {
	return func(dir string) error { return os.WriteFile(filepath.Join(dir, file), []byte(contents), 0o644) }
}

// LFSPointer replaces a file by the pointer that Git LFS leaves in a clone
// without the large files.
func LFSPointer(file string) Damage {
	return func(dir string) error {
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		pointer := fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%064x\nsize %d\n", info.Size(), info.Size())
		return Replace(file, pointer)(dir)
	}
}

// Edit replaces the first occurrence of old in a text file, such as a size in
// config.json.
func Edit(file, old, new string) Damage {
	return func(dir string) error {
		name := filepath.Join(dir, file)
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		edited := strings.Replace(string(text), old, new, 1)
		if edited == string(text) {
			return errors.New(name + " does not contain " + old)
		}
		return os.WriteFile(name, []byte(edited), 0o644)
	}
}
