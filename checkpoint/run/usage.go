package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/safeckpt/safeckpt/diag"
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
	modTime         time.Time
}

// MeasureUsage walks the trees, several directories at once, and follows no
// symlink but roots themselves. A hard link that is found under two roots counts
// for the first, as with du A B.
func MeasureUsage(ctx context.Context, roots ...string) ([]Usage, error) {
	links := &linkSet{}
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
		u := Usage{Path: root, Free: -1}
		u.count(links, st)
		if st.dir {
			u.addTree(ctx, path, links)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if free, err := freeBytes(path); err == nil {
			u.Free = free
		}
		all = append(all, u)
	}
	return all, nil
}

// FreeBytes returns how many bytes this user may still write where path lies.
func FreeBytes(path string) (int64, error) { return freeBytes(path) }

// count adds a file, unless another link to it has been counted.
func (u *Usage) count(links *linkSet, st fileStat) {
	if st.links > 1 && !st.dir && !links.add(st.dev, st.ino) {
		return
	}
	u.Allocated += st.allocated
	if !st.dir {
		u.Files++
		u.Apparent += st.size
	}
}

// addTree counts all that is below a directory.
func (u *Usage) addTree(ctx context.Context, path string, links *linkSet) {
	todo := newDirQueue(path)
	// Twice as many as processors: one that waits for the file system needs none.
	parts := make([]Usage, 2*runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i := range parts {
		wg.Go(func() {
			var part Usage // not in the slice, whose lines the processors would fight for
			part.addDirs(ctx, todo, links)
			parts[i] = part
		})
	}
	wg.Wait()
	for _, p := range parts {
		u.Apparent += p.Apparent
		u.Allocated += p.Allocated
		u.Files += p.Files
		u.Skipped += p.Skipped
	}
}

// addDirs counts directories of the queue until there are no more.
func (u *Usage) addDirs(ctx context.Context, todo *dirQueue, links *linkSet) {
	var d dirReader
	var below []string
	for dir, ok := todo.next(); ok; dir, ok = todo.next() {
		below = below[:0]
		if ctx.Err() == nil {
			err := d.read(dir, func(name string, st fileStat, err error) {
				switch {
				case errors.Is(err, fs.ErrNotExist): // gone since
				case err != nil:
					u.Skipped++
				default:
					u.count(links, st)
					if st.dir {
						below = append(below, dir+string(filepath.Separator)+name)
					}
				}
			})
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				u.Skipped++
			}
		}
		todo.done(below)
	}
}

// A dirQueue holds the directories that are still to be read.
type dirQueue struct {
	mu      sync.Mutex
	changed *sync.Cond
	dirs    []string
	reading int // directories that are being read: more may come of them
}

func newDirQueue(dir string) *dirQueue {
	q := &dirQueue{dirs: []string{dir}}
	q.changed = sync.NewCond(&q.mu)
	return q
}

// next returns a directory to read, after which done is to be called, or false
// when all have been read.
func (q *dirQueue) next() (dir string, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.dirs) == 0 && q.reading > 0 {
		q.changed.Wait()
	}
	if len(q.dirs) == 0 {
		return "", false
	}
	last := len(q.dirs) - 1
	dir, q.dirs = q.dirs[last], q.dirs[:last]
	q.reading++
	return dir, true
}

// done says that a directory has been read, and what was found in it.
func (q *dirQueue) done(below []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dirs = append(q.dirs, below...)
	if q.reading--; len(below) > 0 || q.reading == 0 {
		q.changed.Broadcast()
	}
}

type fileID struct{ dev, ino uint64 }

// A linkSet holds the files with several links that have been counted, in parts
// so that few wait for each other.
type linkSet [64]struct {
	mu   sync.Mutex
	seen map[fileID]bool
}

// add returns false if the file had been added before.
func (s *linkSet) add(dev, ino uint64) bool {
	part := &s[ino%uint64(len(s))]
	part.mu.Lock()
	defer part.mu.Unlock()
	if part.seen == nil {
		part.seen = make(map[fileID]bool)
	}
	id := fileID{dev, ino}
	if part.seen[id] {
		return false
	}
	part.seen[id] = true
	return true
}

// String formats the usage for people.
func (u Usage) String() string {
	return fmt.Sprintf("%s: %s in %s, %d allocated", u.Path, diag.Count(u.Apparent, "byte"), diag.Count(u.Files, "file"), u.Allocated)
}
