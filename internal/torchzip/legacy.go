package torchzip

import (
	"context"
	"errors"
	"fmt"

	"github.com/safeckpt/safeckpt/internal/pickle"
)

const (
	pickleProto   = 0x80
	legacyMagic   = "119547037146038801333356" // 0x1950a86a20f9469cfc6c
	legacyVersion = 1001
	maxMagic      = 64 // bytes of a pickle of the magic number
)

// legacyMagic reads the pickle that such a file begins with and returns where it
// ends.
func (a *Archive) legacyMagic(ctx context.Context) (int64, error) {
	doc, err := pickle.Read(ctx, a.r, 0, min(a.size, maxMagic), nil)
	if err == nil {
		if magic, err := doc.Root.Big(); err == nil && magic.String() == legacyMagic {
			return doc.End, nil
		}
	} else if a.size <= maxMagic || !errors.Is(err, pickle.ErrTruncated) {
		return 0, a.cut(err, "the magic number")
	}
	return 0, &Error{Message: "a pickle, but not one that torch.save wrote: no magic number", Err: ErrNotTorch}
}

// cut turns the error that a pickle ends with the input into one that says so of
// the file.
func (a *Archive) cut(err error, what string) error {
	var e *pickle.Error
	if !errors.As(err, &e) || !errors.Is(err, pickle.ErrTruncated) {
		return err
	}
	return &Error{Offset: a.size, Missing: 1, Err: ErrTruncated,
		Message: fmt.Sprintf("the file is cut short: its %d bytes end inside %s", a.size, what)}
}

// loadLegacy reads the pickles one after another, then walks the storages.
// Storages are little-endian on any machine: torch swaps them as it writes
// (torch/csrc/serialization.cpp).
func (a *Archive) loadLegacy(ctx context.Context, o *pickle.Options) (*Contents, error) {
	at, err := a.legacyMagic(ctx)
	if err != nil {
		return nil, err
	}
	small := *o
	small.MaxMemory = 1 << 20
	version, err := pickle.Read(ctx, a.r, at, a.size, &small)
	if err != nil {
		return nil, a.cut(err, "the protocol version")
	}
	if v, err := version.Root.Int(); err != nil || v != legacyVersion {
		return nil, malformed(at, "", "the protocol version is %s, want %d", version.Root.Describe(), legacyVersion)
	}
	info, err := pickle.Read(ctx, a.r, version.End, a.size, &small) // sizes of C types, of no use
	if err != nil {
		return nil, a.cut(err, "the system information")
	}
	c := &Contents{a: a}
	if c.Document, err = pickle.Read(ctx, a.r, info.End, a.size, o); err != nil {
		return nil, a.cut(err, "the pickled object")
	}
	list := *o
	list.MaxMemory /= 4 // a key takes far less than its storage
	keys, err := pickle.Read(ctx, a.r, c.End, a.size, &list)
	if err != nil {
		return nil, a.cut(err, "the list of storages")
	}
	return c, c.walkStorages(ctx, keys)
}

// located is a storage and where its bytes are, 0 if not yet found.
type located struct {
	storage *pickle.Storage
	offset  int64
}

// walkStorages finds the storages, which follow in the order of the list, each
// after its number of elements.
func (c *Contents) walkStorages(ctx context.Context, list *pickle.Document) error {
	c.found = make(map[string]located, len(c.Storages))
	var want int64 // bytes of the storages not yet found, with their counts
	for _, s := range c.Storages {
		c.found[s.Key] = located{storage: s}
		// The sum of hostile sizes may overflow; it only serves a message.
		want += 8 + s.Bytes()
	}
	keys, err := list.Root.Elems()
	if err != nil {
		return malformed(c.End, "", "the list of storages is %s", list.Root.Describe())
	}
	at := list.End
	for i, v := range keys {
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		key, err := v.Text()
		s := c.found[key].storage
		if err != nil || s == nil || c.found[key].offset != 0 {
			return malformed(c.End, key, "the list of storages holds %s, which the pickle does not name, or twice", v.Describe())
		}
		if c.a.size-at-8 < s.Bytes() {
			missing := max(want-(c.a.size-at), 1)
			return &Error{Entry: key, Offset: c.a.size, Missing: missing, Err: ErrTruncated,
				Message: fmt.Sprintf("the file is cut short inside storage %s: it has %d bytes, and %d are missing", entryName(key), c.a.size, missing)}
		}
		var count [8]byte
		if err := readAt(c.a.r, count[:], at); err != nil {
			return err
		}
		if n := le.Uint64(count[:]); n != uint64(s.Numel) {
			return &Error{Entry: key, Offset: at, Err: ErrStorage,
				Message: fmt.Sprintf("storage %s has %d elements, but the pickle says %d", entryName(key), n, s.Numel)}
		}
		c.found[key] = located{s, at + 8}
		at += 8 + s.Bytes()
		want -= 8 + s.Bytes()
	}
	for _, s := range c.Storages {
		if c.found[s.Key].offset == 0 {
			return &Error{Entry: s.Key, Offset: c.End, Missing: s.Bytes(), Err: ErrStorage,
				Message: fmt.Sprintf("the pickle names the storage %s, which is not in the list of storages", entryName(s.Key))}
		}
	}
	if at != c.a.size {
		return malformed(at, "", "%d bytes after the last storage", c.a.size-at)
	}
	return nil
}
