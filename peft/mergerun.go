package peft

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/modeldir"
	"github.com/safeckpt/safeckpt/safetensors"
)

// A mergeRun carries out a plan.
type mergeRun struct {
	*mergePlan
	o     *MergeOptions
	stats MergeStats
	done  atomic.Int64
}

// A mergeJob is a part of a tensor of the result, for one goroutine.
type mergeJob struct {
	w *safetensors.TensorWriter
	// Bytes [at, at+n) of from are copied, or, if there is a target, rows of it are
	// edited.
	from      safetensors.Tensor
	at, n     int64
	target    *mergeTarget
	row, rows uint64
	edits     []func(b *mergeBlock) (finite bool)
}

// copySize bounds how much one goroutine copies before it looks at ctx.
const copySize = 16 << 20

func (r *mergeRun) write(ctx context.Context, dst string) (err error) {
	dir, err := modeldir.Create(dst, r.o.Step)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Abort()) }()
	err = dir.CopyCompanions(r.base, ".", func(name string) bool { return modeldir.IsCompanion(name) && name != "config.json" })
	if err != nil {
		return err
	}
	if r.text != nil {
		text := r.text
		if r.untied {
			if text, err = untieConfig(text); err != nil {
				return err
			}
		}
		if err := dir.Write("config.json", bytes.NewReader(text)); err != nil {
			return err
		}
	}
	infos, opts := r.layout()
	w, err := safetensors.NewModelWriter(dir.Path, infos, r.metadata(), opts)
	if err != nil {
		return err
	}
	err = r.fill(ctx, w)
	if err == nil {
		err = w.Commit()
	}
	if err != nil {
		return errors.Join(err, w.Abort())
	}
	for _, name := range w.Files() {
		r.stats.Files = append(r.stats.Files, filepath.Join(dst, name))
	}
	return dir.Publish()
}

// layout returns the tensors of the result, and how they are divided into files.
func (r *mergeRun) layout() ([]safetensors.TensorInfo, *safetensors.ModelWriterOptions) {
	opts := &safetensors.ModelWriterOptions{WriterOptions: safetensors.WriterOptions{Step: r.o.Step}, MaxShardSize: r.o.MaxShardSize, RemoveStale: r.o.Force}
	files := make(map[string]string)
	var infos []safetensors.TensorInfo
	for name, t := range r.model.All() {
		infos = append(infos, t.Info())
		files[name] = t.File().Name()
	}
	for _, name := range sortedKeys(r.targets) {
		if _, ok := files[name]; !ok { // what was tied
			t := r.targets[name]
			infos = append(infos, t.info)
			files[name] = files[t.beside]
		}
	}
	r.stats.Tensors, r.stats.Changed = len(infos), len(r.targets)
	switch shards := len(r.model.Files()); {
	case opts.MaxShardSize > 0:
	case shards == 1:
		opts.MaxShardSize = 1<<63 - 1
	default:
		opts.WeightMap = files
	}
	return infos, opts
}

// metadata returns that of the base's first file, with the format that transformers
// asks for.
func (r *mergeRun) metadata() map[string]string {
	out := map[string]string{"format": "pt"}
	for _, s := range r.model.Files() {
		if s.Header != nil {
			for k, v := range s.Header.Metadata {
				out[k] = v
			}
			break
		}
	}
	return out
}

// fill writes all tensors.
func (r *mergeRun) fill(ctx context.Context, w *safetensors.ModelWriter) error {
	workers := r.o.Workers
	if workers <= 0 {
		workers = min(runtime.GOMAXPROCS(0), 8)
	}
	group, ctx := errgroup.WithContext(ctx)
	jobs := make(chan *mergeJob)
	group.Go(func() error {
		defer close(jobs)
		return r.divide(ctx, w, jobs)
	})
	for range workers {
		group.Go(func() error {
			b := newMergeBlock()
			for j := range jobs {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := r.do(b, j); err != nil {
					return err
				}
			}
			return nil
		})
	}
	total := int64(0)
	for _, file := range w.Files() {
		for _, t := range w.Tensors(file) {
			total += int64(t.Bytes())
		}
	}
	var progress func()
	if r.o.Progress != nil {
		progress = func() { r.o.Progress(r.done.Load(), total) }
	}
	err := modeldir.Wait(group.Wait, progress)
	r.stats.Bytes = r.done.Load()
	return err
}

// divide sends the jobs, in the order of the files.
func (r *mergeRun) divide(ctx context.Context, w *safetensors.ModelWriter, jobs chan<- *mergeJob) error {
	reader := &factorReader{ctx: ctx, block: newMergeBlock()}
	send := func(j mergeJob) error {
		select {
		case jobs <- &j:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, file := range w.Files() {
		for _, info := range w.Tensors(file) {
			tw, err := w.Tensor(info.Name)
			if err != nil {
				return err
			}
			t := r.targets[info.Name]
			if t != nil && (len(t.edits) > 0 || t.from.Info().DType != t.info.DType) {
				if err := divideTarget(reader, t, tw, send); err != nil {
					return fmt.Errorf("peft: tensor %s: %w", diag.Name(info.Name), err)
				}
				continue
			}
			var from safetensors.Tensor
			if t != nil {
				from = t.from
			} else if from, err = r.model.Tensor(info.Name); err != nil {
				return err
			}
			for at := int64(0); at < tw.Size(); at += copySize {
				if err := send(mergeJob{w: tw, from: from, at: at, n: min(copySize, tw.Size()-at)}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// divideTarget sends the blocks of an edited tensor. No block crosses the bounds
// of an edit.
func divideTarget(reader *factorReader, t *mergeTarget, w *safetensors.TensorWriter, send func(mergeJob) error) error {
	bounds := []uint64{0, t.rows}
	for _, e := range t.edits {
		from, to := e.span(t)
		bounds = append(bounds, from, to)
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	edits := slices.SortedStableFunc(slices.Values(t.edits), func(a, b mergeEdit) int {
		from, _ := a.span(t)
		other, _ := b.span(t)
		return cmp.Compare(from, other)
	})
	for i := range len(bounds) - 1 {
		from, to := bounds[i], bounds[i+1]
		var fns []func(b *mergeBlock) bool
		for _, e := range edits {
			first, last := e.span(t)
			if last <= from || first >= to {
				continue
			}
			fn, err := e.prepare(reader, t)
			if err != nil {
				return err
			}
			fns = append(fns, fn)
		}
		for row := from; row < to; row += t.blockRows() {
			if err := send(mergeJob{w: w, target: t, row: row, rows: min(t.blockRows(), to-row), edits: fns}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *mergeRun) do(b *mergeBlock, j *mergeJob) error {
	if j.target == nil {
		n, err := j.w.CopyTensor(j.from, j.at, j.n)
		r.done.Add(n)
		return err
	}
	if err := b.read(j.target, j.row, j.rows); err != nil {
		return fmt.Errorf("peft: tensor %s: %w", diag.Name(j.target.info.Name), err)
	}
	for _, edit := range j.edits {
		if !edit(b) {
			return r.notFinite(j.target)
		}
	}
	row := int64(b.cols) * int64(b.dtype.Bits()/8)
	n, err := j.w.WriteAt(b.bytes(), int64(b.row)*row)
	r.done.Add(int64(n))
	return err
}

// notFinite is the error of a result with NaN or infinities.
func (r *mergeRun) notFinite(t *mergeTarget) error {
	p := diag.New(diag.AdapterNotFinite, "%s is not finite after the merge", diag.Name(t.info.Name))
	p.Tensor, p.Want, p.Got = t.info.Name, "finite weights", "NaN or infinities"
	p.Cause = "the adapter or the base holds NaN or infinities, or the sum is too large for " + t.info.DType.String()
	p.Fix = "look for them: safeckpt verify --values ADAPTER; if there are none, convert the base to bfloat16 first"
	return refused(p)
}
