package zero

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/torchzip"
)

// sourceFile is an open file that can be read anywhere.
type sourceFile interface {
	io.ReaderAt
	io.Closer
}

// A dcpReader keeps the files of a distributed checkpoint open while their items
// are looked at.
type dcpReader struct {
	s     *Shards
	index map[string]int
	open  map[string]sourceFile
}

func (r *dcpReader) close() {
	for _, f := range r.open {
		_ = f.Close() // it was only read
	}
}

// plan finds the bytes of all chunks of a tensor and holds them against its shape.
func (r *dcpReader) plan(ctx context.Context, t *dcpTensor) (*tensor, error) {
	s, meta := r.s, r.s.path(dcpMetadata)
	total, ok := numel(t.size)
	if !ok {
		return nil, s.content(diag.RankFileContent, meta, "tensor %s has the impossible shape %v", diag.Name(t.fqn), t.size)
	}
	w := &tensor{name: t.name, shape: t.size, numel: total}
	for i, c := range t.chunks {
		if len(c.sizes) != len(t.size) || len(c.offsets) != len(t.size) || !c.found {
			return nil, s.content(diag.RankFileContent, meta, "chunk %d of %s has offsets %v and sizes %v, and %s", i, diag.Name(t.fqn), c.offsets, c.sizes,
				map[bool]string{true: "a place", false: "no place in storage_data"}[c.found])
		}
		if err := r.item(ctx, t, c, w, i == 0); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(t.chunks, func(a, b *chunk) int { return slices.Compare(a.offsets, b.offsets) })
	if err := tile(t.size, t.chunks, 0); total > 0 && err != nil {
		return nil, s.content(diag.PartitionSize, meta, "%s of shape %v: %v", diag.Name(t.fqn), t.size, err)
	}
	if slices.ContainsFunc(t.chunks, func(c *chunk) bool { return !c.endToEnd(t.size) }) {
		w.chunks = t.chunks
		return w, nil
	}
	for _, c := range t.chunks {
		w.pieces = append(w.pieces, c.data)
	}
	return w, nil
}

// item finds the bytes of one chunk.
func (r *dcpReader) item(ctx context.Context, t *dcpTensor, c *chunk, w *tensor, first bool) error {
	s, meta := r.s, r.s.path(dcpMetadata)
	if !dcpName.MatchString(c.place.file) || !filepath.IsLocal(c.place.file) || strings.ContainsAny(c.place.file, `/\`) {
		return s.content(diag.RankFileContent, meta, "%s lies in %s, which is no name of a .distcp file", diag.Name(t.fqn), diag.Name(c.place.file))
	}
	if c.place.packed {
		return s.content(diag.ShardLayoutUnknown, meta, "%s was packed by an extension of torch.distributed.checkpoint; this is not merged", diag.Name(t.fqn))
	}
	name := s.path(c.place.file)
	f, err := r.file(name)
	if err != nil {
		return err
	}
	size := s.files[r.index[name]].info.Size()
	if c.place.off < 0 || c.place.length < 0 || c.place.off > size || c.place.length > size-c.place.off {
		p := diag.New(diag.RankFileDamaged, "%s is cut short: it has %d bytes, but %s lies at %d and takes %d", diag.Name(name), size, diag.Name(t.fqn), c.place.off, c.place.length)
		p.File, p.Tensor, p.Want, p.Got = name, t.name, fmt.Sprintf("%d bytes at least", c.place.off+c.place.length), fmt.Sprintf("%d bytes", size)
		p.Cause, p.Fix = "the save was killed, the disk was full, or a copy was cut short", "copy the file again from where it is whole, or merge an earlier checkpoint"
		return s.refuse(p)
	}
	src := &s.files[r.index[name]]
	src.archives = append(src.archives, torchzip.Span{Offset: c.place.off, Size: c.place.length})
	st, err := func() (*stored, error) {
		archive, err := torchzip.Open(ctx, io.NewSectionReader(f, c.place.off, c.place.length), c.place.length)
		if err != nil {
			return nil, err
		}
		contents, err := archive.Load(ctx, nil)
		if err != nil {
			return nil, err
		}
		return (&torchFile{contents, r.index[name], name}).stored(contents.Root)
	}()
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return s.refuse(broken(name, size, err))
	}
	switch {
	case !slices.Equal(st.shape, c.sizes) || st.stride != nil:
		return s.content(diag.PartitionSize, name, "%s has shape %v here, want %v end to end", diag.Name(t.fqn), st.shape, c.sizes)
	case first:
		w.dtype, w.swap = st.dtype, st.swap
	case w.dtype != st.dtype || w.swap != st.swap:
		return s.content(diag.RanksDisagree, name, "%s is %v here, but %v in another file", diag.Name(t.fqn), st.dtype, w.dtype)
	}
	c.data = piece{st.file, c.place.off + st.offset, c.numel * st.dtype.Size()}
	return nil
}

func (r *dcpReader) file(name string) (sourceFile, error) {
	if f, ok := r.open[name]; ok {
		return f, nil
	}
	s := r.s
	f, err := s.fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		p := diag.New(diag.RankMissing, "%s is missing: the metadata says that it holds parts of the weights", diag.Name(name))
		p.File = name
		p.Cause, p.Fix = "the file lies on another node's disk, or was not copied", "copy it here from the node of that rank, or merge an earlier checkpoint"
		return nil, s.refuse(p)
	}
	if err != nil {
		return nil, s.refuse(unreadable(name, err))
	}
	info, err := f.Stat()
	src, ok := f.(sourceFile)
	if err != nil || !ok || !info.Mode().IsRegular() {
		_ = f.Close()
		return nil, s.refuse(unreadable(name, errors.Join(err, errors.New("not a regular file that can be read at an offset"))))
	}
	r.open[name] = src
	r.index[name] = len(s.files)
	s.files = append(s.files, source{name: name, info: info})
	return src, nil
}
