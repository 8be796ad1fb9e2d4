package zero

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/pickle"
	"github.com/safeckpt/safeckpt/internal/torchzip"
)

// The names that torch's distributed checkpoints (DCP) and accelerate give.
const (
	dcpMetadata = ".metadata"
	fsdpDir     = "pytorch_model_fsdp_0"
)

var dcpName = regexp.MustCompile(`^__(\d+)_\d+\.distcp$`)

// maxDCPMetadata bounds the pickle that lists all chunks.
const maxDCPMetadata = 1 << 30

// findFSDP returns the directory of a distributed checkpoint: the opened one, or
// pytorch_model_fsdp_0 in it or in the newest checkpoint-N below; "" if there is
// none.
func (s *Shards) findFSDP() (string, error) {
	entries, err := fs.ReadDir(s.fsys, ".")
	if err != nil {
		return "", err
	}
	for _, base := range []string{".", newestStep(entries)} {
		for _, dir := range []string{base, path.Join(base, fsdpDir)} {
			if base == "" {
				continue
			}
			if names, err := fs.Glob(s.fsys, path.Join(dir, "*.distcp")); err == nil && len(names) > 0 {
				s.base = base
				return dir, nil
			}
		}
	}
	return "", nil
}

// A chunk is a part of a tensor in a file of a distributed checkpoint.
type chunk struct {
	offsets, sizes []int64
	place          dcpPlace
	found          bool
}

// A dcpPlace is where an item lies: an archive of torch.save inside a file.
type dcpPlace struct {
	file        string
	off, length int64
}

// A dcpTensor is an entry of the metadata.
type dcpTensor struct {
	fqn, name string
	size      []int64
	chunks    []chunk
}

// readFSDP plans the tensors of a distributed checkpoint. Follows PyTorch 2.15
// distributed/checkpoint/filesystem.py and metadata.py, and accelerate 1.15
// utils/fsdp_utils.py, merge_fsdp_weights, for the names.
func (s *Shards) readFSDP(ctx context.Context, dir string) error {
	s.Tag, s.FSDP = dir, true
	tensors, err := s.readDCPMetadata(ctx)
	if err != nil {
		return err
	}
	r := &dcpReader{s: s, index: make(map[string]int), open: make(map[string]sourceFile)}
	defer r.close()
	out := newPlan()
	ranks := make(map[string]bool)
	for _, t := range tensors {
		if err := ctx.Err(); err != nil {
			return err
		}
		w, err := r.plan(ctx, t)
		if err != nil {
			return err
		}
		out.put(w)
		for _, c := range t.chunks {
			if m := dcpName.FindStringSubmatch(c.place.file); m != nil {
				ranks[m[1]] = true
			}
		}
	}
	s.Ranks, s.tensors = len(ranks), out.list
	return nil
}

// readDCPMetadata reads which chunks there are, and where.
func (s *Shards) readDCPMetadata(ctx context.Context) ([]*dcpTensor, error) {
	name := s.path(dcpMetadata)
	f, err := s.fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		p := diag.New(diag.ModelStatesMissing, "%s is missing: it says which tensors the files hold, and where", diag.Name(name))
		p.File = name
		p.Cause = "rank 0 writes it as the last step of a save, which was killed, or hidden files were not copied"
		p.Fix = "copy it, or merge an earlier checkpoint"
		return nil, s.refuse(p)
	}
	if err != nil {
		return nil, s.refuse(unreadable(name, err))
	}
	defer f.Close()
	info, err := f.Stat()
	r, ok := f.(io.ReaderAt)
	if err != nil || !ok || info.Size() > maxDCPMetadata {
		return nil, s.refuse(unreadable(name, errors.Join(err, errors.New("not a file of usual size that can be read at an offset"))))
	}
	tensors, err := func() ([]*dcpTensor, error) {
		doc, err := pickle.Read(ctx, r, 0, info.Size(), &pickle.Options{Name: name, MaxMemory: max(pickle.DefaultMaxMemory, 16*info.Size())})
		if err != nil {
			return nil, err
		}
		return parseDCP(doc.Root)
	}()
	if err != nil {
		return nil, s.refuse(broken(name, info.Size(), err))
	}
	return tensors, nil
}

func parseDCP(root pickle.Value) ([]*dcpTensor, error) {
	items, err := root.Get("state_dict_metadata").Items()
	if err != nil {
		return nil, err
	}
	byName := make(map[string]*dcpTensor)
	var tensors []*dcpTensor
	for k, v := range items {
		fqn, err := k.Text()
		if err != nil {
			return nil, err
		}
		if _, class, _ := v.Class(); class != "TensorStorageMetadata" {
			continue // bytes: step counters and the like
		}
		t := &dcpTensor{fqn: fqn, name: modelKey(root, fqn)}
		if t.size, err = v.Get("size").Ints(); err != nil {
			return nil, err
		}
		chunks, err := v.Get("chunks").Elems()
		if err != nil {
			return nil, err
		}
		for _, v := range chunks {
			c := chunk{}
			if c.offsets, err = v.Get("offsets").Ints(); err == nil {
				c.sizes, err = v.Get("sizes").Ints()
			}
			if err != nil {
				return nil, err
			}
			t.chunks = append(t.chunks, c)
		}
		byName[fqn] = t
		tensors = append(tensors, t)
	}
	places, err := root.Get("storage_data").Items()
	if err != nil {
		return nil, err
	}
	for k, v := range places {
		fqn, err := k.Get("fqn").Text()
		if err != nil {
			return nil, err
		}
		t := byName[fqn]
		if t == nil {
			continue
		}
		offset, err := k.Get("offset").Ints()
		if err != nil {
			return nil, err
		}
		place := dcpPlace{}
		if place.file, err = v.Get("relative_path").Text(); err == nil {
			if place.off, err = v.Get("offset").Int(); err == nil {
				place.length, err = v.Get("length").Int()
			}
		}
		if err != nil {
			return nil, err
		}
		for i := range t.chunks {
			if c := &t.chunks[i]; slices.Equal(c.offsets, offset) {
				c.place, c.found = place, true
			}
		}
	}
	return tensors, nil
}

// modelKey is the tensor's name in the model: accelerate saves {"model": weights}.
func modelKey(root pickle.Value, fqn string) string {
	at, ok := root.Get("planner_data").Lookup(fqn)
	if !ok || at.Len() != 2 {
		return fqn
	}
	first, err := at.Get(0).Text()
	name, err1 := at.Get(1).Text()
	if err != nil || err1 != nil || first != "model" {
		return fqn
	}
	return name
}

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

// plan puts the chunks of a tensor in order; they must be cut along the first
// dimension, as FSDP does.
func (r *dcpReader) plan(ctx context.Context, t *dcpTensor) (*tensor, error) {
	s, meta := r.s, r.s.path(dcpMetadata)
	total, ok := numel(t.size)
	if !ok {
		return nil, s.content(diag.RankFileContent, meta, "tensor %s has the impossible shape %v", diag.Name(t.fqn), t.size)
	}
	w := &tensor{name: t.name, shape: t.size, numel: total}
	slices.SortFunc(t.chunks, func(a, b chunk) int { return slices.Compare(a.offsets, b.offsets) })
	row := int64(0)
	for i, c := range t.chunks {
		n, ok := numel(c.sizes)
		if !ok || len(c.sizes) != len(t.size) || len(c.offsets) != len(t.size) || !c.found {
			return nil, s.content(diag.RankFileContent, meta, "chunk %d of %s has offsets %v and sizes %v, and %s", i, diag.Name(t.fqn), c.offsets, c.sizes,
				map[bool]string{true: "a place", false: "no place in storage_data"}[c.found])
		}
		for d := 1; d < len(t.size); d++ {
			if c.offsets[d] != 0 || c.sizes[d] != t.size[d] {
				return nil, s.content(diag.ShardLayoutUnknown, meta, "%s is cut along dimension %d (tensor parallelism); only the first is merged", diag.Name(t.fqn), d)
			}
		}
		if len(t.size) > 0 {
			if c.offsets[0] != row {
				return nil, s.content(diag.PartitionSize, meta, "%s: chunk %d begins at row %d, want %d", diag.Name(t.fqn), i, c.offsets[0], row)
			}
			row += c.sizes[0]
		}
		if err := r.item(ctx, t, c, n, w, i == 0); err != nil {
			return nil, err
		}
	}
	if len(t.size) > 0 && row != t.size[0] || len(t.size) == 0 && len(t.chunks) != 1 {
		return nil, s.content(diag.PartitionSize, meta, "%s: the chunks have %d rows, want %v", diag.Name(t.fqn), row, t.size)
	}
	return w, nil
}

// item finds the bytes of one chunk.
func (r *dcpReader) item(ctx context.Context, t *dcpTensor, c chunk, n int64, w *tensor, first bool) error {
	s := r.s
	if !dcpName.MatchString(c.place.file) || !filepath.IsLocal(c.place.file) || strings.ContainsAny(c.place.file, `/\`) {
		return s.content(diag.RankFileContent, s.path(dcpMetadata), "%s lies in %s, which is no name of a .distcp file", diag.Name(t.fqn), diag.Name(c.place.file))
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
	if n > 0 {
		w.pieces = append(w.pieces, piece{st.file, c.place.off + st.offset, n * st.dtype.Size()})
	}
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
