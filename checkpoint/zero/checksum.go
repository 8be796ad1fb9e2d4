package zero

import (
	"context"
	"io"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/torchzip"
)

// checkSums reads all files and compares checksums.
func (s *Shards) checkSums(ctx context.Context, report *diag.Report) error {
	for i, src := range s.files {
		f, err := s.openSource(i)
		if err != nil {
			return err
		}
		unchecked := 0 // legacy files have none at all
		for _, a := range src.archives {
			var n int
			if n, err = checkArchive(ctx, f, src.name, a, report); err != nil {
				break
			}
			unchecked += n
		}
		_ = f.Close() // it was only read
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			report.Add(broken(src.name, src.info.Size(), err))
		}
		if unchecked > 0 {
			p := diag.New(diag.ShardChecksumAbsent, "%s: %d members or files in it have no checksum, so they could not be checked", diag.Name(src.name), unchecked)
			p.File = src.name
			report.Add(p)
		}
	}
	return nil
}

// checkArchive checks one archive in a file. It returns how many members have no
// checksum.
func checkArchive(ctx context.Context, f io.ReaderAt, name string, at torchzip.Span, report *diag.Report) (unchecked int, err error) {
	archive, err := torchzip.Open(ctx, io.NewSectionReader(f, at.Offset, at.Size), at.Size)
	if err != nil {
		return 0, err
	}
	if archive.Format == torchzip.Legacy {
		return 1, nil
	}
	checked, err := archive.Check(ctx, nil)
	if err != nil {
		return 0, err
	}
	for _, damaged := range checked.Damaged {
		p := diag.New(diag.ShardChecksum, "%s: %v", diag.Name(name), damaged)
		p.File, p.Offset = name, diag.At(at.Offset+damaged.Offset)
		p.Cause = "the disk, the memory or a copy damaged the bytes"
		p.Fix = "copy the file again from where it is whole, or merge another tag"
		report.Add(p)
	}
	return len(checked.Unchecked), nil
}
