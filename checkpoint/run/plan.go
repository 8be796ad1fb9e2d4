package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// ErrPlanStale is matched by the error of Apply when what is there is no longer
// what the plan was made for: another process saves, rotates or cleans. Nothing
// that was not deleted before is touched; make a new plan.
var ErrPlanStale = errors.New("the directory has changed since the plan was made")

// ErrLocked is matched by the error of Apply when another process deletes in the
// same directory.
var ErrLocked = errors.New("another process deletes here")

// A Deletion is one thing that a plan deletes.
type Deletion struct {
	Path  string
	Bytes int64
	Why   string

	root    string // the directory that Path is in, which is locked
	info    fs.FileInfo
	restore bool // the directory's time of change is to stay: see Clean
}

// A Kept is one thing that a plan keeps.
type Kept struct{ Path, Why string }

// A Plan says what would be deleted. Making one changes nothing.
type Plan struct {
	Delete []Deletion
	Keep   []Kept

	again func(ctx context.Context) (*Plan, error) // the same plan for what is there now
}

// Bytes returns what the plan frees.
func (p *Plan) Bytes() (n int64) {
	for _, d := range p.Delete {
		n += d.Bytes
	}
	return n
}

// ApplyOptions configures Apply. Nil means defaults.
type ApplyOptions struct {
	// Deleted, if not nil, is called after each deletion.
	Deleted func(d Deletion)

	// step is called before every operation that changes files; an error is
	// returned in its place. Tests stop a deletion at every point with it.
	step func(op, path string) error
}

// Apply deletes what the plan says. Under a lock it makes the plan once more and
// deletes only if every entry is still to be deleted, the same directory (by
// inode) with the same time of change; else it returns ErrPlanStale and nothing
// is gone. An error on the way leaves at most a hidden directory that the next
// rotation or clean deletes. It returns what was deleted.
func (p *Plan) Apply(ctx context.Context, o *ApplyOptions) ([]Deletion, error) {
	if o == nil {
		o = &ApplyOptions{}
	}
	var roots []string
	for _, d := range p.Delete {
		if !slices.Contains(roots, d.root) {
			roots = append(roots, d.root)
		}
	}
	slices.Sort(roots) // in one order everywhere: two processes cannot wait for each other
	for _, root := range roots {
		unlock, err := lockDir(root)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", root, err)
		}
		defer unlock()
	}
	if err := p.check(ctx); err != nil {
		return nil, err
	}
	var done []Deletion
	for _, d := range p.Delete {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		if err := d.apply(o); err != nil {
			return done, err
		}
		done = append(done, d)
		if o.Deleted != nil {
			o.Deleted(d)
		}
	}
	return done, nil
}

func (p *Plan) check(ctx context.Context) error {
	now, err := p.again(ctx)
	if err != nil {
		return err
	}
	for _, d := range p.Delete {
		i := slices.IndexFunc(now.Delete, func(n Deletion) bool { return n.Path == d.Path })
		if i < 0 {
			return fmt.Errorf("%s would not be deleted now: %w", d.Path, ErrPlanStale)
		}
		if n := now.Delete[i]; !os.SameFile(n.info, d.info) || !n.info.ModTime().Equal(d.info.ModTime()) {
			return fmt.Errorf("%s was changed: %w", d.Path, ErrPlanStale)
		}
	}
	return nil
}

// apply deletes one entry. All goes through an os.Root, which no symlink leads
// out of.
func (d *Deletion) apply(o *ApplyOptions) error {
	rel, err := filepath.Rel(d.root, d.Path)
	if err != nil || !filepath.IsLocal(rel) {
		return fmt.Errorf("%s is not inside %s", d.Path, d.root)
	}
	root, err := os.OpenRoot(d.root)
	if err != nil {
		return err
	}
	defer root.Close()
	info, err := root.Lstat(rel)
	if err != nil || !os.SameFile(info, d.info) {
		return fmt.Errorf("%s was replaced: %w", d.Path, ErrPlanStale)
	}
	r := &remover{root: root, step: o.step}
	if err := r.removable(rel, info); err != nil {
		return fmt.Errorf("%s: %w", d.Path, err)
	}
	parent := filepath.Dir(rel)
	before, err := root.Stat(parent)
	if err != nil {
		return err
	}
	if err := r.remove(rel, info); err != nil {
		return err
	}
	if d.restore {
		return r.do("chtimes", parent, func() error { return root.Chtimes(parent, before.ModTime(), before.ModTime()) })
	}
	return nil
}
