package diag_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/diag"
)

var update = flag.Bool("update", false, "rewrite golden and generated files")

func TestCodesDocIsCurrent(t *testing.T) {
	const path = "../docs/codes.md"
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(diag.Markdown()), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, diag.Markdown() == string(got), "docs/codes.md is not current; run: go test ./diag -update")
}

func TestCodesAreDocumented(t *testing.T) {
	for _, info := range diag.Codes() {
		require.Regexp(t, `^[A-Z][0-9]{3}$`, string(info.Code))
		require.NotEmpty(t, info.Title, info.Code)
		require.NotEmpty(t, info.Many, info.Code)
		require.NotEmpty(t, info.Text, info.Code)
	}
}

func TestReportOrderAndLimit(t *testing.T) {
	r := diag.Report{Limit: 2}
	for _, name := range []string{"layers.10.w", "layers.2.w", "layers.1.w"} {
		p := diag.New(diag.TensorMissing, "%s is missing", name)
		p.Tensor = name
		r.Add(p)
	}
	r.Add(diag.New(diag.NotHeld, "no config"))
	got := r.Problems()
	require.Len(t, got, 3)
	require.Equal(t, []string{"layers.2.w", "layers.10.w", ""}, []string{got[0].Tensor, got[1].Tensor, got[2].Tensor})
	require.Equal(t, 3, r.Count(diag.Error))
	require.Equal(t, 1, r.Count(diag.Note))
	require.Equal(t, map[diag.Code]int{diag.TensorMissing: 1}, r.Omitted())

	var all diag.Report
	all.Merge("checkpoint-10", &r)
	require.Equal(t, 3, all.Count(diag.Error), "what was left out is still counted")
	require.Equal(t, r.Omitted(), all.Omitted())

	var text strings.Builder
	require.NoError(t, all.WriteText(&text, nil))
	require.Contains(t, text.String(), "and 1 more of code M001, which are only counted")
}

func TestOmittedKeepTheirSeverity(t *testing.T) {
	r := diag.Report{Limit: 1}
	for range 3 {
		p := diag.New(diag.TensorMissing, "x")
		p.Severity = diag.Note
		r.Add(p)
	}
	var all diag.Report
	all.Merge("", &r)
	require.Equal(t, 3, all.Count(diag.Note))
	require.Equal(t, 0, all.Count(diag.Error))

	errs := diag.Report{Limit: 1}
	for range 3 {
		errs.Add(diag.New(diag.TensorMissing, "x"))
	}
	var lowered diag.Report
	lowered.MergeFunc(&errs, func(p *diag.Problem) bool {
		if p.Severity == diag.Error {
			p.Severity = diag.Warning
		}
		return true
	})
	require.Zero(t, lowered.Count(diag.Error))
	require.Equal(t, 3, lowered.Count(diag.Warning), "those that were only counted too")
	require.Equal(t, errs.Omitted(), lowered.Omitted())
}

func TestReportErr(t *testing.T) {
	var r diag.Report
	r.Add(diag.New(diag.NotHeld, "no config"))
	require.NoError(t, r.Err(), "a note is no error")
	r.Add(diag.New(diag.FileTruncated, "cut"))
	err := fmt.Errorf("wrapped: %w", r.Err())
	require.ErrorIs(t, err, diag.FileTruncated)
	require.False(t, errors.Is(err, diag.FileTrailing))
}

func TestProblemJSON(t *testing.T) {
	p := diag.New(diag.FileTruncated, "cut")
	p.File, p.Offset = "model.safetensors", diag.At(0)
	got, err := json.Marshal(p)
	require.NoError(t, err)
	require.JSONEq(t, `{"code":"F002","severity":"error","title":"file truncated","message":"cut","file":"model.safetensors",
		"tensor":null,"offset":0,"want":null,"got":null,"cause":null,"fix":null}`, string(got))
}

func TestTemplates(t *testing.T) {
	for _, tt := range []struct{ names, want []string }{
		{nil, nil},
		{[]string{"lm_head.weight"}, []string{"lm_head.weight"}},
		{[]string{"layers.0.w", "layers.1.w", "layers.3.w", "x"}, []string{"layers.{0-1,3}.w (3)", "x"}},
		{[]string{"3", "4.5"}, []string{"3", "4.5"}},
		{[]string{"layers.01.w", "layers.1.w"}, []string{"layers.01.w", "layers.1.w"}},
		{[]string{"a\x00.1", "b.1"}, []string{`"a\x00.1"`, "b.1"}},
	} {
		require.Equal(t, tt.want, diag.Templates(tt.names))
	}
}

func TestName(t *testing.T) {
	require.Equal(t, "model.norm.weight", diag.Name("model.norm.weight"))
	require.Equal(t, `""`, diag.Name(""))
	require.Equal(t, `"a\n\x1b[31m"`, diag.Name("a\n\x1b[31m"))
	require.Equal(t, `"\u202egnp"`, diag.Name("\u202egnp"))
	long := diag.Name(strings.Repeat("é", 1000))
	require.Less(t, len(long), 300)
	require.Contains(t, long, "…1800 bytes…")
}

func TestCount(t *testing.T) {
	require.Equal(t, "1 tensor", diag.Count(1, "tensor"))
	require.Equal(t, "0 tensors", diag.Count(uint64(0), "tensor"))
	require.Equal(t, "2 entries", diag.Count(int64(2), "entry"))
	require.Equal(t, "3 processes", diag.Count(3, "process"))
	require.Equal(t, "4 indexes", diag.Count(4, "index"))
}

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 bytes", 999: "999 bytes", 1000: "1.00 kB", 16584333312: "16.58 GB", 999_999_999: "1.00 GB", 1<<64 - 1: "18.45 EB"} {
		require.Equal(t, want, diag.Size(n))
	}
}

func TestWriteTextFoldsFiles(t *testing.T) {
	var r diag.Report
	for i := range 8 {
		p := diag.New(diag.FileLFSPointer, "134-byte Git LFS pointer, not weights")
		p.File, p.Fix = fmt.Sprintf("model-%d.safetensors", i), "git lfs pull"
		r.Add(p)
	}
	for i := range 3 { // few enough
		p := diag.New(diag.ShardStray, "a.%d is not of this model", i)
		p.File = fmt.Sprintf("a.%d", i)
		r.Add(p)
	}
	var b strings.Builder
	require.NoError(t, r.WriteText(&b, nil))
	require.Equal(t, `error   F011  8 files are Git LFS pointers instead of weights
              model-0.safetensors
              model-1.safetensors
              model-2.safetensors
              model-3.safetensors
              model-4.safetensors
              model-5.safetensors
              and 2 more like these
        e.g.  model-0.safetensors: 134-byte Git LFS pointer, not weights
        e.g.  model-1.safetensors: 134-byte Git LFS pointer, not weights
        e.g.  model-2.safetensors: 134-byte Git LFS pointer, not weights
        fix   git lfs pull
warning I015  a.0 is not of this model
warning I015  a.1 is not of this model
warning I015  a.2 is not of this model
`, b.String())
}

func TestWriteText(t *testing.T) {
	var r diag.Report
	for i := range 4 {
		p := diag.New(diag.TensorMissing, "layers.%d.w is missing: want [8,8]", i)
		p.Tensor, p.Cause, p.Fix = fmt.Sprintf("layers.%d.w", i), "the save was killed", "save again"
		r.Add(p)
	}
	p := diag.New(diag.FileTrailing, "4 bytes after the last tensor")
	p.File, p.Offset = "model.safetensors", diag.At(128)
	r.Add(p)
	var b strings.Builder
	require.NoError(t, r.WriteText(&b, nil))
	require.Equal(t, `error   M001  4 tensors that the config calls for are missing
              layers.{0-3}.w (4)
        e.g.  layers.0.w is missing: want [8,8]
        e.g.  layers.1.w is missing: want [8,8]
        e.g.  layers.2.w is missing: want [8,8]
        why   the save was killed
        fix   save again
error   F003  model.safetensors, byte 128: 4 bytes after the last tensor
`, b.String())
}
