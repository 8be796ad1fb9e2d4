package run

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/safeckpt/safeckpt/checkpoint"
	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/internal/atomicfile"
	"github.com/safeckpt/safeckpt/safetensors"
)

// A Leftover is what a save or a deletion that was killed has left behind.
type Leftover struct {
	Path    string
	Bytes   int64
	ModTime time.Time
	Why     string

	info fs.FileInfo
}

// A Log is a log file beside the checkpoints.
type Log struct {
	Path    string
	Bytes   int64
	ModTime time.Time // of the last write: a live run's is young
}

// trashPrefix starts the names that directories get before they are deleted. It
// is neither checkpoint-* nor anything that a loader looks for.
const trashPrefix = ".safeckpt-trash-"

// safetensors 0.8 writes weights to a hidden file and renames it.
var tempFile = regexp.MustCompile(`^\.tmp[A-Za-z0-9]{6}$`)

func isTemp(name string) bool {
	return strings.HasPrefix(name, ".") && (tempFile.MatchString(name) || atomicfile.IsTemp(name))
}

func (r *Run) addLeftover(name, path string, e fs.DirEntry) {
	why := ""
	switch {
	case isTemp(name):
		why = "temporary file of a save that was killed"
	case strings.HasPrefix(name, trashPrefix) && e.IsDir():
		why = "half-deleted: a deletion by safeckpt was killed"
	case strings.HasPrefix(name, "tmp-checkpoint-") && e.IsDir():
		why = "staging directory of a save that was killed (transformers 4.36 to 4.38)"
	default:
		return
	}
	info, err := e.Info()
	if err != nil {
		return
	}
	size, newest := treeSize(path, info)
	r.Leftovers = append(r.Leftovers, Leftover{path, size, newest, why, info})
}

// treeSize returns the bytes of all files below a path and the time of the
// newest.
func treeSize(path string, info fs.FileInfo) (size int64, newest time.Time) {
	newest = info.ModTime()
	if !info.IsDir() {
		return info.Size(), newest
	}
	_ = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				size += info.Size()
				if info.ModTime().After(newest) {
					newest = info.ModTime()
				}
			}
		}
		return nil
	})
	return size, newest
}

// halfDeleted says when all that a checkpoint is good for is gone: neither weights
// nor trainer state. shutil.rmtree(ignore_errors=True) leaves such directories,
// on NFS with .nfs files in them.
func (c *Checkpoint) halfDeleted() *Leftover {
	if c.Symlink || c.Kind != checkpoint.KindUnknown || c.trainer != nil {
		return nil
	}
	info, err := os.Lstat(c.Path)
	if err != nil {
		return nil
	}
	return &Leftover{c.Path, c.Bytes, later(c.ModTime, c.written), "half-deleted or hardly begun: neither weights nor trainer_state.json", info}
}

var shardFile = regexp.MustCompile(`-\d+-of-(\d+)\.safetensors$`)

// orphans returns the shards that another save has left in a checkpoint that is
// whole without them. One that says to be of as many as the index has may be of
// this model, lost from the index: it stays.
func (c *Checkpoint) orphans(m *safetensors.Model) (found []Leftover) {
	if m == nil || !c.Complete || c.Symlink {
		return nil
	}
	for _, p := range m.Report().Problems() {
		of := shardFile.FindStringSubmatch(p.File)
		if p.Code != diag.ShardStray || p.Severity == diag.Note || of == nil ||
			slices.ContainsFunc(m.Files(), func(s safetensors.Shard) bool { return strings.HasSuffix(s.Name, "-of-"+of[1]+".safetensors") }) {
			continue
		}
		path := filepath.Join(c.Path, filepath.FromSlash(p.File))
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
			found = append(found, Leftover{path, info.Size(), info.ModTime(), "shard of another save, which " + diag.Name(m.Name()) + " does not name", info})
		}
	}
	return found
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (r *Run) addLog(name, path string, e fs.DirEntry) {
	if !e.Type().IsRegular() {
		return
	}
	lower := strings.ToLower(name)
	if ext := filepath.Ext(lower); ext != ".log" && ext != ".out" && ext != ".err" && lower != "nohup.out" &&
		!strings.HasPrefix(lower, "slurm-") && !strings.HasPrefix(lower, "events.out.tfevents.") {
		return
	}
	if info, err := e.Info(); err == nil {
		r.Logs = append(r.Logs, Log{path, info.Size(), info.ModTime()})
	}
}
