package zero

import (
	"context"
	"io/fs"
	"path"
	"regexp"
)

// The names that torch's distributed checkpoints (DCP) and accelerate give.
const (
	dcpMetadata = ".metadata"
	fsdpDir     = "pytorch_model_fsdp_0"
)

var dcpName = regexp.MustCompile(`^__(\d+)_\d+\.distcp$`)

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
