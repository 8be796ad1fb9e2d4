package zero

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

var stepDir = regexp.MustCompile(`^checkpoint-(\d+)$`)

// locate finds the tag directory: root itself, the one that the option or the
// file latest names, or that of the newest checkpoint-N below. It sets s.base,
// which holds config.json and its like, and s.Tag.
func (s *Shards) locate(tag string) (*tagListing, error) {
	entries, err := fs.ReadDir(s.fsys, ".")
	if err != nil {
		return nil, err
	}
	s.base = "."
	if tag == "" {
		if l, err := listTag(s.fsys, "."); err != nil || l.any() {
			s.Tag = "."
			return l, err
		}
	}
	latest, err := s.latest(".")
	if err != nil {
		return nil, err
	}
	if tag == "" && latest == "" && len(s.tagDirs(".")) == 0 {
		if newest := newestStep(entries); newest != "" {
			s.base = newest
			if latest, err = s.latest(newest); err != nil {
				return nil, err
			}
		}
	}
	candidates := s.tagDirs(s.base)
	if tag == "" {
		tag = latest
	}
	if tag == "" {
		return nil, s.noTag(candidates)
	}
	if tag == "." || tag == ".." || strings.ContainsAny(tag, `/\`) || !filepath.IsLocal(tag) || !fs.ValidPath(tag) {
		p := diag.New(diag.TagInvalid, "%s is a path, not the name of a directory beside the file latest", diag.Name(tag))
		p.File, p.Want, p.Got = path.Join(s.base, "latest"), "a name such as global_step500", diag.Name(tag)
		p.Cause, p.Fix = "the file was edited, or made to make a reader leave the directory", "name the tag: --tag "+example(candidates)
		return nil, s.refuse(p)
	}
	s.Tag = path.Join(s.base, tag)
	info, err := fs.Stat(s.fsys, s.Tag)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		p := diag.New(diag.TagNotFound, "the tag %s is not a directory here; there are: %s", diag.Name(tag), list(candidates))
		p.File, p.Want, p.Got = path.Join(s.base, "latest"), diag.Name(tag), list(candidates)
		p.Cause, p.Fix = "the directory was deleted, or only some of the files were copied", "name one that is there: --tag "+example(candidates)
		return nil, s.refuse(p)
	}
	if err != nil {
		return nil, err
	}
	l, err := listTag(s.fsys, s.Tag)
	if err == nil && !l.any() {
		p := diag.New(diag.ShardsNotFound, "the tag directory %s holds no files of DeepSpeed", diag.Name(tag))
		p.File, p.Want = s.Tag, "*_optim_states.pt and *_model_states.pt"
		p.Cause, p.Fix = "the save was killed, or the files were not copied", "merge another tag: --tag "+example(candidates)
		return nil, s.refuse(p)
	}
	return l, err
}

// latest returns what the file latest in dir says, "" if there is none.
func (s *Shards) latest(dir string) (string, error) {
	for _, name := range []string{"latest", "latest_universal"} {
		f, err := s.fsys.Open(path.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		defer f.Close()
		text, err := io.ReadAll(io.LimitReader(f, 4096))
		if err != nil {
			return "", err
		}
		if tag := strings.TrimSpace(string(text)); tag != "" {
			return tag, nil
		}
	}
	return "", nil
}

// tagDirs returns the directories in dir that hold a checkpoint of DeepSpeed.
func (s *Shards) tagDirs(dir string) []string {
	entries, err := fs.ReadDir(s.fsys, dir)
	if err != nil {
		return nil // it has been read before; what is lost is a hint
	}
	var dirs []string
	for _, e := range entries {
		if l, err := listTag(s.fsys, path.Join(dir, e.Name())); err == nil && l.any() {
			dirs = append(dirs, e.Name())
		}
	}
	slices.SortFunc(dirs, diag.CompareNames)
	return dirs
}

func newestStep(entries []fs.DirEntry) string {
	newest, at := "", -1
	for _, e := range entries {
		if m := stepDir.FindStringSubmatch(e.Name()); m != nil && e.IsDir() {
			if n, err := strconv.Atoi(m[1]); err == nil && n > at {
				newest, at = e.Name(), n
			}
		}
	}
	return newest
}

// noTag says why there is nothing to merge, or which tags there are.
func (s *Shards) noTag(candidates []string) error {
	if len(candidates) > 0 {
		p := diag.New(diag.TagMissing, "no file latest and no tag given; there are: %s", list(candidates))
		p.File, p.Want, p.Got = path.Join(s.base, "latest"), "the tag to merge", "no such file"
		p.Cause, p.Fix = "the save was killed before its last step, or latest was not copied", "say which: --tag "+example(candidates)
		return s.refuse(p)
	}
	if files, _ := fs.Glob(s.fsys, path.Join(s.base, "*.safetensors")); len(files) > 0 {
		p := diag.New(diag.ShardsConsolidated, "already consolidated: the weights are in %s, and there are no shards", diag.Name(path.Base(files[0])))
		p.File = files[0]
		p.Cause, p.Fix = "saved with save_only_model=True", "use the directory as it is: from_pretrained loads it"
		return s.refuse(p)
	}
	p := diag.New(diag.ShardsNotFound, "no DeepSpeed checkpoint here: no file latest and no directory with *_optim_states.pt")
	p.File = s.base
	p.Cause, p.Fix = "the path names another directory, or the files lie on other nodes", "give the directory that holds the file latest, or the tag directory itself"
	return s.refuse(p)
}

func example(candidates []string) string {
	if len(candidates) == 0 {
		return "TAG"
	}
	return diag.Name(candidates[len(candidates)-1])
}

// list names some of many.
func list(names []string) string {
	const most = 8
	if len(names) == 0 {
		return "none"
	}
	var shown []string
	for _, n := range names[:min(len(names), most)] {
		shown = append(shown, diag.Name(n))
	}
	text := strings.Join(shown, ", ")
	if n := len(names) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}
