package modeldir

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"

	"github.com/safeckpt/safeckpt/internal/atomicfile"
)

// companion matches what from_pretrained of models, tokenizers and processors
// reads beside weights.
var companion = regexp.MustCompile(`^(config|generation_config|.*tokenizer.*|special_tokens_map|added_tokens|vocab|(pre|video_pre)?processor_config|preprocessor_config|chat_template)\.(json|jinja|model|txt)$|^(merges\.txt|vocab\.txt|.*\.spm|.*\.tiktoken|.*\.bpe\.model|spiece\.model)$`)

// IsCompanion reports whether a file of that name belongs to a model beside its
// weights: config, generation config, tokenizer and processor.
func IsCompanion(name string) bool { return companion.MatchString(name) }

// maxCompanion bounds what is copied; the largest tokenizers have some 40 MB.
const maxCompanion = 1 << 30

// CopyCompanions copies the files in the directory dir of fsys that wanted takes
// by their names.
func (d *Dir) CopyCompanions(fsys fs.FS, dir string, wanted func(name string) bool) error {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if !wanted(name) {
			continue
		}
		info, err := fs.Stat(fsys, path.Join(dir, name)) // follows links, which caches consist of
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || info.Size() > maxCompanion {
			continue
		}
		src, err := fsys.Open(path.Join(dir, name))
		if err != nil {
			return err
		}
		if err := errors.Join(d.Write(name, io.LimitReader(src, maxCompanion)), src.Close()); err != nil {
			return err
		}
	}
	return nil
}

// Write writes one small file into the directory.
func (d *Dir) Write(name string, content io.Reader) error {
	dst, err := atomicfile.Create(filepath.Join(d.Path, name), &atomicfile.Options{Step: d.step})
	if err != nil {
		return err
	}
	_, err = dst.ReadFrom(content)
	if err == nil {
		err = dst.Publish()
	}
	if err != nil {
		return errors.Join(err, dst.Abort())
	}
	return nil
}
