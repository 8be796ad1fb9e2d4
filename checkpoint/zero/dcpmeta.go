package zero

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/pickle"
)

// maxDCPMetadata bounds the pickle that lists all chunks.
const maxDCPMetadata = 1 << 30

// A chunk is a part of a tensor in a file of a distributed checkpoint.
type chunk struct {
	offsets, sizes []int64
	numel          int64
	place          dcpPlace
	found          bool
	data           piece // once the item at place has been looked at
}

// A dcpPlace is where an item lies: an archive of torch.save inside a file.
type dcpPlace struct {
	file        string
	off, length int64
	packed      bool // by an extension, such as zstd
}

// A dcpTensor is an entry of the metadata.
type dcpTensor struct {
	fqn, name string
	size      []int64
	chunks    []*chunk
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
	at := make(map[string]*chunk) // by name and offsets
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
			c := &chunk{}
			if c.offsets, err = v.Get("offsets").Ints(); err == nil {
				c.sizes, err = v.Get("sizes").Ints()
			}
			if err != nil {
				return nil, err
			}
			var ok bool
			if c.numel, ok = numel(c.sizes); !ok || c.numel > 0 { // ranks beyond the last row have nothing
				t.chunks = append(t.chunks, c)
				at[chunkKey(fqn, c.offsets)] = c
			}
		}
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
		offset, err := k.Get("offset").Ints()
		if err != nil {
			continue // of bytes
		}
		c := at[chunkKey(fqn, offset)]
		if c == nil {
			continue
		}
		if c.place.file, err = v.Get("relative_path").Text(); err == nil {
			if c.place.off, err = v.Get("offset").Int(); err == nil {
				c.place.length, err = v.Get("length").Int()
			}
		}
		if err != nil {
			return nil, err
		}
		c.place.packed = v.Get("transform_descriptors").Len() > 0
		c.found = true
	}
	return tensors, nil
}

// chunkKey tells the chunks of a checkpoint apart, as MetadataIndex does.
func chunkKey(fqn string, offsets []int64) string {
	key := append([]byte(fqn), 0)
	for _, n := range offsets {
		key = binary.AppendVarint(key, n)
	}
	return string(key)
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
