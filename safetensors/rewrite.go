package safetensors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/atomicfile"
	"github.com/safeckpt/safeckpt/internal/regular"
)

// RewriteOptions say what Rewrite changes; nil means only the padding of the
// header, to 8 bytes.
type RewriteOptions struct {
	WriterOptions
	// Metadata returns the new metadata, given a copy of the old that it may
	// change and return; either may be nil, for a file without. Nil keeps it.
	Metadata func(old map[string]string) map[string]string
	// Trim drops bytes after the last tensor. Without it such a file is refused,
	// because they may be a sign that it is damaged.
	Trim bool
}

// Rewrite writes the file src to dst with another header: other metadata, other
// alignment of the data, no bytes after the last tensor. The bytes of the tensors
// and their order stay as they are; where the system can, it copies them itself.
// dst may be src, and appears whole or not at all, as with Writer. ctx is looked
// at every 256 MiB.
//
// A src that is not valid gives a *FormatError. On Windows it must not be mapped
// if it is to be replaced.
func Rewrite(ctx context.Context, dst, src string, o *RewriteOptions) error {
	if o == nil {
		o = &RewriteOptions{}
	}
	info, err := os.Stat(src)
	if err != nil {
		return err
	}
	if err := regular.Check(src, info); err != nil {
		return err
	}
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	h, size, err := rewritable(in, src, o.Trim)
	if err != nil {
		return err
	}
	metadata := h.Metadata
	if o.Metadata != nil {
		metadata = o.Metadata(maps.Clone(metadata))
	}
	if err := rewrite(ctx, dst, in, h, size, metadata, &o.WriterOptions); err != nil {
		return fmt.Errorf("safetensors: rewriting %s: %w", src, err)
	}
	return nil
}

// rewritable returns the header of a valid file, or of one that is only too
// long, and the size of its data section.
func rewritable(in *os.File, name string, trim bool) (h *Header, size uint64, err error) {
	info, err := in.Stat()
	if err != nil {
		return nil, 0, err
	}
	h, report, err := readHeader(in, name, info.Size(), Limits{})
	if err != nil {
		return nil, 0, err
	}
	tooLong := 0
	if trim && report.Has(diag.FileTrailing) {
		tooLong = 1
	}
	if report.Count(diag.Error) > tooLong {
		return nil, 0, &FormatError{Report: report, Header: h, Size: info.Size()}
	}
	if n := len(h.Tensors); n > 0 {
		size = h.Tensors[n-1].End
	}
	return h, size, nil
}

func rewrite(ctx context.Context, dst string, in *os.File, h *Header, size uint64, metadata map[string]string, opts *WriterOptions) error {
	align, err := opts.align()
	if err != nil {
		return err
	}
	// Tensors without bytes have no order of their own: the reference writer's.
	tensors := slices.SortedStableFunc(slices.Values(referenceOrder(h.Tensors)), func(a, b TensorInfo) int {
		return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.End, b.End))
	})
	header, err := appendHeader(nil, tensors, metadata, align)
	if err != nil {
		return err
	}
	out, err := atomicfile.Create(dst, opts.atomic())
	if err != nil {
		return err
	}
	defer out.Abort()
	if _, err := out.Write(header); err != nil {
		return err
	}
	if _, err := in.Seek(h.DataStart(), io.SeekStart); err != nil {
		return err
	}
	for left := int64(size); left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := out.ReadFrom(&io.LimitedReader{R: in, N: min(left, 256<<20)})
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("the file ends %s early: %w", diag.Count(left, "byte"), io.ErrUnexpectedEOF)
		}
		left -= n
	}
	// Windows replaces no file that is open.
	if err := errors.Join(in.Close(), out.Commit()); err != nil {
		return err
	}
	return nil
}
