package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
)

// Usage is what a tree takes of a disk, as GNU du counts.
type Usage struct {
	Path string
	// Apparent is the sum of the sizes of files and symlinks (du --apparent-size
	// of coreutils 9.2 and later counts directories as nothing), hard links once.
	Apparent int64
	// Allocated is what the file system has set aside, directories' own blocks
	// included, hard links once; holes take nothing (du -s -B1). Where the system
	// does not say (Windows), it is Apparent.
	Allocated int64
	Files     int   // without directories; hard links once
	Free      int64 // bytes that this user may still write there; -1 if not known
	// Skipped counts what could not be read.
	Skipped int
}

// A fileStat is what du needs to know of a file.
type fileStat struct {
	size, allocated int64
	dev, ino        uint64
	links           uint64
	dir             bool
}

type fileID struct{ dev, ino uint64 }

// MeasureUsage walks the trees, several directories at once, and follows no
// symlink but roots themselves. A hard link that is found under two roots counts
// for the first, as with du A B.
func MeasureUsage(ctx context.Context, roots ...string) ([]Usage, error) {
	m := &measuring{ctx: ctx, busy: make(chan struct{}, runtime.GOMAXPROCS(0)-1), seen: make(map[fileID]bool)}
	var all []Usage
	for _, root := range roots {
		path, err := filepath.EvalSymlinks(root)
		if err != nil {
			return nil, err
		}
		st, err := statPath(path)
		if err != nil {
			return nil, err
		}
		t := &tally{}
		m.count(t, &st)
		if st.dir {
			m.dir(t, path)
			m.wg.Wait()
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		free, err := freeBytes(path)
		if err != nil {
			free = -1
		}
		all = append(all, Usage{root, t.apparent.Load(), t.allocated.Load(), int(t.files.Load()), free, int(t.skipped.Load())})
	}
	return all, nil
}

// FreeBytes returns how many bytes this user may still write where path lies.
func FreeBytes(path string) (int64, error) { return freeBytes(path) }

type tally struct{ apparent, allocated, files, skipped atomic.Int64 }

type measuring struct {
	ctx  context.Context
	busy chan struct{} // one element per goroutine beyond the first
	wg   sync.WaitGroup

	mu   sync.Mutex
	seen map[fileID]bool // files with several links
}

// count adds a file and returns whether it had not been counted.
func (m *measuring) count(t *tally, st *fileStat) {
	if st.links > 1 && !st.dir {
		m.mu.Lock()
		id := fileID{st.dev, st.ino}
		before := m.seen[id]
		m.seen[id] = true
		m.mu.Unlock()
		if before {
			return
		}
	}
	t.allocated.Add(st.allocated)
	if !st.dir {
		t.files.Add(1)
		t.apparent.Add(st.size)
	}
}

// dir counts what is in a directory and visits those below it: each in a
// goroutine of its own while there are fewer than processors.
func (m *measuring) dir(t *tally, path string) {
	if m.ctx.Err() != nil {
		return
	}
	var below []string
	err := readDir(path, func(name string, st *fileStat, err error) {
		switch {
		case errors.Is(err, fs.ErrNotExist): // gone since
		case err != nil:
			t.skipped.Add(1)
		default:
			m.count(t, st)
			if st.dir {
				below = append(below, name)
			}
		}
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.skipped.Add(1)
	}
	for _, name := range below {
		sub := path + string(filepath.Separator) + name
		select {
		case m.busy <- struct{}{}:
			m.wg.Go(func() {
				m.dir(t, sub)
				<-m.busy
			})
		default:
			m.dir(t, sub)
		}
	}
}

// String formats the usage for people.
func (u Usage) String() string {
	return fmt.Sprintf("%s: %d bytes in %d files, %d allocated", u.Path, u.Apparent, u.Files, u.Allocated)
}
