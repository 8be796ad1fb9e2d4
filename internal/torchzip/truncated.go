package torchzip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/safeckpt/safeckpt/internal/pickle"
)

// truncated returns the error for a file that begins as a zip archive and lacks
// the end. Members are written front to back, and local headers need not say how
// long they are, but the pickle, which is the first of them, says how long the
// storages are: so the walk finds where the file was cut and what is missing at
// least.
func (a *Archive) truncated(ctx context.Context) error {
	w := walker{a: a, storages: make(map[string]int64), seen: make(map[string]bool)}
	err := &Error{Offset: a.size, Err: ErrTruncated}
	at := w.walk(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	var where string
	switch sig := w.signature(at); {
	case w.inside != "":
		where = "it ends inside member " + entryName(w.inside)
		err.Entry = w.inside
	case at > a.size-localLen || sig == signatureLocal:
		where = "it ends between two members"
	case sig == signatureDirectory:
		where = "it ends inside the central directory"
	default:
		err.Offset = at
		err.Message = fmt.Sprintf("the zip archive is cut short or damaged: it has no end record, and its members cannot be followed beyond byte %d of %d", at, a.size)
		return err
	}
	missing := int64(endLen)
	for name, size := range w.storages {
		missing = saturatingAdd(missing, directoryLen+int64(len(name)))
		if !w.seen[name] {
			missing = saturatingAdd(missing, localLen+int64(len(name)))
			missing = saturatingAdd(missing, size)
		}
	}
	if w.inside != "" {
		missing = saturatingAdd(missing, w.missing)
	} else {
		missing -= a.size - at // of what comes after the last whole member, this much is there
	}
	err.Missing = max(missing, 1)
	err.Message = fmt.Sprintf("the zip archive is cut short: %s; the file has %d bytes, and at least %d are missing", where, a.size, err.Missing)
	return err
}

// walker goes through local headers.
type walker struct {
	a        *Archive
	storages map[string]int64 // sizes by name, once the pickle was read
	seen     map[string]bool  // members that are there, wholly or in part
	inside   string           // the member that the file ends in
	missing  int64            // bytes that lack from it
}

// walk returns where it ended.
func (w *walker) walk(ctx context.Context) int64 {
	at := int64(0)
	for ctx.Err() == nil && w.signature(at) == signatureLocal {
		head := make([]byte, localLen)
		if readAt(w.a.r, head, at) != nil {
			break
		}
		nameLen, extraLen := int64(le.Uint16(head[26:])), int64(le.Uint16(head[28:]))
		data := at + localLen + nameLen + extraLen
		name := make([]byte, nameLen)
		if at+localLen+nameLen > w.a.size || readAt(w.a.r, name, at+localLen) != nil {
			break
		}
		size, known := w.size(ctx, string(name), head, data)
		if _, ok := w.storages[string(name)]; ok {
			w.seen[string(name)] = true
		}
		if data > w.a.size || size > w.a.size-data {
			w.inside, w.missing = string(name), saturatingAdd(max(data-w.a.size, 0), size-max(w.a.size-data, 0))
			break
		}
		at = data + size
		if !known {
			break
		}
		if le.Uint16(head[6:])&flagDescriptor != 0 {
			at += w.descriptor(at)
		}
	}
	return at
}

// signature returns the four bytes at the offset, or "".
func (w *walker) signature(at int64) string {
	var p [4]byte
	if at > w.a.size-localLen || readAt(w.a.r, p[:], at) != nil {
		return ""
	}
	return string(p[:])
}

// maxSmall bounds the search for the end of members of unknown size; those that
// torch adds to the pickle and the storages have at most 40 bytes.
const maxSmall = 4096

// size returns how long a member is, or at least is.
func (w *walker) size(ctx context.Context, name string, head []byte, data int64) (size int64, known bool) {
	if n := int64(le.Uint32(head[22:])); n != 0 && n != math.MaxUint32 {
		return n, true
	}
	if n, ok := w.storages[name]; ok {
		return n, true
	}
	if prefix, ok := strings.CutSuffix(name, "data.pkl"); ok && data < w.a.size {
		doc, err := pickle.Read(ctx, w.a.r, data, w.a.size, &pickle.Options{MaxMemory: w.a.budget(24 << 20)})
		if errors.Is(err, pickle.ErrTruncated) {
			return w.a.size - data + 1, false // at least its end is missing
		} else if err != nil {
			return 0, false
		}
		for _, s := range doc.Storages {
			w.storages[prefix+"data/"+s.Key] = s.Bytes()
		}
		return doc.End - data, true
	}
	rest := make([]byte, max(0, min(maxSmall, w.a.size-data)))
	if readAt(w.a.r, rest, data) != nil {
		return 0, false
	}
	if i := bytes.Index(rest, []byte(signatureDescriptor)); i >= 0 {
		return int64(i), true
	}
	if len(rest) < maxSmall {
		return int64(len(rest)) + 1, false
	}
	return 0, false
}

// descriptor returns the length of the data descriptor at the offset: it is the
// one after which something else begins.
func (w *walker) descriptor(at int64) int64 {
	for _, n := range []int64{16, 24} {
		var next [2]byte
		if readAt(w.a.r, next[:], at+n) == nil && string(next[:]) == "PK" {
			return n
		}
	}
	return 16
}

func saturatingAdd(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
